"""A call as the graph writes it, bound to an overload as PyTorch's schema has it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pullback_schemas.problems import BadArgument, pointer_to
from pullback_service.program.catalogue import Argument, Operator
from pullback_service.program.literals import Leniency, MismatchError, convert, to_json
from pullback_service.program.names import ARGUMENT_ALIASES, Spelling
from pullback_service.program.python_forms import PYTHON_FORMS
from pullback_service.program.references import Ref, references

NEVER_FROM_A_GRAPH = frozenset({"device", "pin_memory", "generator", "out", "names"})


@dataclass(frozen=True, slots=True)
class Call:
    """A bound call: required positional arguments in order, every other one that differs from its default."""

    operator: Operator
    args: list[Any]
    kwargs: dict[str, Any]
    needs_flat_masks: bool = False

    def argument(self, name: str) -> Any:
        """The value of the parameter `name`, its default if it was not given."""
        return self.named(self.args, self.kwargs)[name]

    def named(self, args: list[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of this call, whatever stands in them, by the names of the schema; defaults included."""
        parameters = self.operator.arguments
        required = [a.name for a in parameters if a.is_required and not a.is_keyword_only]
        return {a.name: a.default for a in parameters} | dict(zip(required, args, strict=True)) | dict(kwargs)


@dataclass(frozen=True, slots=True)
class _Given:
    """An argument as it was written, and where."""

    value: Any
    where: tuple[str | int, ...]


class _MisfitError(Exception):
    """A call does not fit one overload; `rank` tells how close it came."""

    def __init__(
        self,
        progress: int,
        where: tuple[str | int, ...],
        reason: str,
        expected: Any,
        got: Any,
        *,
        is_near: bool | None = None,
        parameter: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.parameter = parameter
        self.rank = (is_near is True, is_near is not None, progress)
        self.where = where
        self.reason = reason
        self.expected = expected
        self.got = got


def bind(spelling: Spelling, candidates: list[Operator], args: list[Any], kwargs: dict[str, Any], node: str) -> Call:
    """The call of the first overload whose schema fits. Raises BadArgument about the one that fits best."""
    if spelling.overload is None and spelling.packet in PYTHON_FORMS:
        args, kwargs = PYTHON_FORMS[spelling.packet](args, kwargs)
    for pairs_as_complex in (False, True):  # [2, 3] is a list wherever some overload takes one
        best: tuple[_MisfitError, Operator] | None = None
        for operator in candidates:
            leniency = Leniency(operator.takes_numbers_as_tensors, pairs_as_complex)
            try:
                return _bind_to(operator, spelling, args, kwargs, leniency)
            except _MisfitError as error:
                if best is None or error.rank > best[0].rank:
                    best = error, operator
    assert best is not None
    misfit, operator = best
    raise BadArgument(
        f"{operator.name}: {misfit.reason}.",
        node=node,
        pointer=pointer_to(*misfit.where),
        expected=misfit.expected,
        got=_shown(misfit.got),
        hint=f"The signature is {_marked(operator.signature, misfit.parameter)}",
    ) from None


def _marked(signature: str, parameter: str | None) -> str:
    """The signature, on a line of its own with carets under the parameter if one is meant."""
    found = parameter and re.search(rf"[^(, ]+ {re.escape(parameter)}(=[^,)]+)?(?=[,)])", signature)
    if not found:
        return signature
    return f"\n{signature}\n{' ' * found.start()}{'^' * len(found[0])}"


def _shown(value: Any) -> Any:
    """What came, as JSON that is safe and short."""
    if value is None or (isinstance(value, bool | int) and abs(value) < 2**63):
        return value
    text = str(to_json(value))
    return text if len(text) <= 200 else text[:200] + "..."


def _bind_to(
    operator: Operator, spelling: Spelling, args: list[Any], kwargs: dict[str, Any], leniency: Leniency
) -> Call:
    given = _assign(operator, spelling, args, kwargs)
    call = Call(operator, [], {})
    for progress, parameter in enumerate(operator.arguments):
        if parameter.name not in given:
            if parameter.is_required:
                raise _MisfitError(
                    progress,
                    (),
                    f"the argument {parameter.name!r} is missing",
                    str(parameter.kind),
                    None,
                    parameter=parameter.name,
                )
            continue
        value = _convert(parameter, given[parameter.name], progress, leniency)
        if parameter.is_required and not parameter.is_keyword_only:
            call.args.append(value)
        elif parameter.is_required or not _is_default(value, parameter.default):
            call.kwargs[parameter.name] = value
    _need_a_tensor(operator, call)
    return call


def _convert(parameter: Argument, given: _Given, progress: int, leniency: Leniency) -> Any:
    if parameter.name in NEVER_FROM_A_GRAPH and given.value is not None:
        raise _MisfitError(progress, given.where, f"{parameter.name!r} is not the graph's to choose", None, given.value)
    try:
        return convert(given.value, parameter.kind, parameter.name, leniency)
    except MismatchError as error:
        raise _MisfitError(
            progress,
            given.where + error.path,
            f"the argument {parameter.name!r} must be {error.expected}",
            error.expected,
            error.got,
            is_near=error.is_near,
            parameter=parameter.name,
        ) from None


def _is_default(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)


def _need_a_tensor(operator: Operator, call: Call) -> None:
    takes_tensors = any(a.kind.base == "Tensor" and a.is_required for a in operator.arguments)
    if takes_tensors and next(references([*call.args, *call.kwargs.values()]), None) is None:
        raise _MisfitError(0, ("args",), "at least one argument must refer to a tensor", "a reference", None)


def _assign(operator: Operator, spelling: Spelling, args: list[Any], kwargs: dict[str, Any]) -> dict[str, _Given]:
    """Which parameter each written argument belongs to."""
    positional = [a for a in operator.arguments if not a.is_keyword_only]
    given: dict[str, _Given] = {}
    if spelling.parameters is None:
        args = _gather(positional, args)
        order = [a.name for a in positional]
    else:
        order = list(spelling.parameters)
    if len(args) > len(order):
        raise _MisfitError(
            0, ("args", len(order)), f"takes at most {len(order)} positional arguments", len(order), len(args)
        )
    written = [(name, _Given(value, ("args", i))) for i, (name, value) in enumerate(zip(order, args, strict=False))]
    written += [(name, _Given(value, ("kwargs", name))) for name, value in kwargs.items()]
    for name, argument in written:
        if name in spelling.unused or (name == "inplace" and argument.value is False):
            continue  # torch.nn.functional's way to say what is always so here
        parameter = _parameter(operator, name, argument.where)
        if parameter.name in given:
            raise _MisfitError(0, argument.where, f"the argument {parameter.name!r} is given twice", None, None)
        given[parameter.name] = argument
    for name, value in spelling.defaults:
        given.setdefault(_parameter(operator, name, ()).name, _Given(value, ()))
    return given


def _gather(positional: list[Argument], args: list[Any]) -> list[Any]:
    """`permute(x, 0, 1)` and `einsum("ij,jk", a, b)`: trailing arguments that make up the last list."""
    last = len(positional) - 1
    if last < 0 or not positional[last].kind.is_list or not positional[last].is_required:
        return args
    trailing = args[last:]
    if trailing == [None] or any(
        isinstance(item, list) or (isinstance(item, Ref) and item.is_list) for item in trailing
    ):
        return args
    is_one_for_all = len(trailing) == 1 and positional[last].kind.size is not None
    return [*args[:last], trailing] if trailing and not is_one_for_all else args


def _parameter(operator: Operator, name: str, where: tuple[str | int, ...]) -> Argument:
    for parameter in operator.arguments:
        if parameter.name == name:
            return parameter
    for parameter in operator.arguments:
        if name in ARGUMENT_ALIASES.get(parameter.name, ()):
            return parameter
    names = [parameter.name for parameter in operator.arguments]
    close = difflib.get_close_matches(name[:64], names, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    raise _MisfitError(0, where, f"there is no argument {name!r}{meant}", names, name)
