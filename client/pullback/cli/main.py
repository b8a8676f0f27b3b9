"""The command line: `pullback backward "y = relu(x)" -i x=x.npy -g y=ones -o grads.npz`."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence

from pullback.cli import commands
from pullback.cli.parser import parser
from pullback.cli.printing import check_place, save, to_json, to_text
from pullback.cli.values import UsageError
from pullback.client import Client
from pullback.errors import AnswerError, NoAnswerError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status."""
    given = parser().parse_args(arguments)
    try:
        if given.command == "serve":
            commands.serve({"PULLBACK_HOST": given.host, "PULLBACK_PORT": given.port})
        return _answer(given)
    except UsageError as error:
        return _complain(str(error), commands.USAGE)
    except NoAnswerError as error:
        return _complain(str(error), commands.NO_ANSWER)
    except AnswerError as error:
        if given.json and error.problem:
            return _complain(to_json(error.problem), commands.REFUSED, name="")
        return _complain(str(error), commands.REFUSED)


def _answer(given: Namespace) -> int:
    if given.out:
        check_place(given.out)
    try:
        client = Client(given.url, timeout_s=given.timeout)
    except ValueError as error:
        raise UsageError(str(error)) from None
    with client:
        answer, status = given.run(client, given)
    if given.out:
        save(answer, given.out)
    elif given.json:
        print(to_json(answer))
    else:
        print(to_text(answer))
    return int(status)


def _complain(message: str, status: int, name: str = "pullback: ") -> int:
    print(f"{name}{message}", file=sys.stderr)
    return status
