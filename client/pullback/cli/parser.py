"""What may stand on the command line."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from pullback.cli import commands

EPILOG = """\
A graph is text, "y = relu(x @ w)"; @file, in text or JSON; or - for the standard input.
A value is a number, a list, a file, or filled: x=1.5  x=1,2,3  x=[[1,2],[3,4]]  x=x.npy  v=ones  data.npz

exit status: 0 done; 1 the service refused, or a check failed; 2 the command line cannot be read; 3 no answer

examples:
  pullback backward "y = relu(x)" -i x=-1,0,2 -g y=ones
  pullback backward @model.json -i batch.npz -g loss=1 --wrt w,b -o grads.npz
  pullback hessian "y = (1 - x[0])**2 + 100 * (x[1] - x[0]**2)**2" -i x=1,1 --json
  pullback check "y = relu(x @ w)" -i x=x.npy -i w=w.npy
  pullback ops cholesky
  pullback serve --port 8000
"""

OPERATIONS = {
    "forward": ("the values of a graph", ()),
    "backward": ("gradients: v^T J, with v the grad_tensors", ("grad_tensors", "wrt", "jacobian", "unused")),
    "jvp": ("J v, with v the tangents", ("tangents",)),
    "jacobian": ("dense Jacobians", ("of", "wrt", "mode", "chunk_size")),
    "hvp": ("H v, with v the vectors", ("vectors", "grad_tensors", "wrt")),
    "hessian": ("the dense Hessian", ("grad_tensors", "wrt", "chunk_size")),
    "gradcheck": ("whether the gradients are right", ("wrt", "method")),
}


def _names(text: str) -> list[str]:
    return text.split(",")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not seconds > 0:
        raise ValueError
    return seconds


MANY: dict[str, Any] = {"action": "append", "metavar": "NAME=VALUE"}
NAMES: dict[str, Any] = {"type": _names, "metavar": "A,B", "help": "names, separated by commas"}
FIELDS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "grad_tensors": (("-g", "--grad"), {**MANY, "help": "the vector of an output"}),
    "tangents": (("-t", "--tangent"), {**MANY, "help": "the direction of an input"}),
    "vectors": (("-v", "--vector"), {**MANY, "help": "the direction of an input"}),
    "wrt": (("--wrt",), NAMES),
    "of": (("--of",), NAMES),
    "jacobian": (("--jacobian",), {"action": "store_true", "help": "also the dense Jacobians"}),
    "unused": (("--unused",), {"choices": ["zeros", "null", "error"], "help": "what inputs without a say get"}),
    "mode": (("--mode",), {"choices": ["auto", "reverse", "forward"], "help": "by rows or by columns"}),
    "method": (("--method",), {"choices": ["taylor", "central"], "help": "how it is found out"}),
    "chunk_size": (("--chunk-size",), {"type": int, "metavar": "N", "help": "rows at a time"}),
    "seed": (("--seed",), {"type": int, "help": "of operators that draw random numbers"}),
    "device": (("--device",), {"help": "auto, cpu or cuda"}),
}
"""The fields of requests, as options."""


def parser() -> ArgumentParser:
    """What the command line may hold."""
    whole = ArgumentParser(
        "pullback",
        description="Exact derivatives from a Pullback service.",
        epilog=EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parsers = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, summary: str) -> ArgumentParser:
        return parsers.add_parser(
            name, help=summary, description=summary, epilog=EPILOG, formatter_class=RawDescriptionHelpFormatter
        )

    for name, (summary, fields) in OPERATIONS.items():
        one = command(name, summary)
        one.set_defaults(run=commands.derive, fields=(*fields, "seed", "device"))
        _add_graph(one)
        _add_fields(one, *fields, "seed", "device")
        _add_common(one)
    one = command("check", "what can be said of a graph without running it")
    one.set_defaults(run=commands.check)
    _add_graph(one)
    _add_fields(one, "wrt")
    _add_common(one)
    one = command("ops", "the operators that a graph may call")
    one.set_defaults(run=commands.ops)
    one.add_argument("word", nargs="?", help="an operator's name, or a word in names and summaries")
    _add_common(one)
    one = command("health", "whether the service takes requests now")
    one.set_defaults(run=commands.health)
    _add_common(one)
    one = command("serve", "run the service here, if it is installed")
    one.add_argument("--host", help="the address to listen on; left out: 127.0.0.1")
    one.add_argument("--port", help="the port to listen on; left out: 8000")
    return whole


def _add_graph(parser: ArgumentParser) -> None:
    parser.add_argument("graph", help="a graph in text, @file, or -")
    parser.add_argument(
        "-i", "--input", dest="inputs", action="append", default=[], metavar="NAME=VALUE", help="an input of the graph"
    )


def _add_common(parser: ArgumentParser) -> None:
    parser.add_argument("--url", help="the service; left out: PULLBACK_BASE_URL, else http://127.0.0.1:8000")
    parser.add_argument("--timeout", type=_seconds, default=60.0, metavar="S", help="seconds to wait for an answer")
    parser.add_argument("--json", action="store_true", help="print JSON, problems too")
    parser.add_argument("-o", "--out", metavar="FILE", help="write the arrays to a .npz, or all to a .json file")


def _add_fields(parser: ArgumentParser, *fields: str) -> None:
    for field in fields:
        flags, settings = FIELDS[field]
        parser.add_argument(*flags, dest=field, **settings)
