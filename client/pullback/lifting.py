"""What a trace begins with: a function of named tensors, whatever the caller's function or module takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn

from pullback.errors import TracingError
from pullback.recording import refuse_hooks
from pullback_schemas.wire import why_not_a_name

Parameters = Literal["constants", "inputs"]


@dataclass(frozen=True, slots=True)
class Lifted:
    """A function of tensors in a row, what to call it with, and what everything is called.

    `lifted` are the parameters among the inputs; `held` names the tensors that the function holds, by identity;
    `names` gives what else needs a name one of its own.
    """

    function: Callable[..., Any]
    inputs: dict[str, Tensor]
    lifted: dict[str, Tensor]
    held: dict[int, str]
    names: Names


def lift(
    function: Callable[..., Any], examples: tuple[Any, ...], kwargs: Mapping[str, Any], parameters: Parameters
) -> Lifted:
    """`function` with everything that varies as an argument, named. Raises TracingError."""
    for value in (*examples, *kwargs.values()):
        if not isinstance(value, Tensor):
            raise TracingError(f"an example is a {type(value).__name__}, not a tensor; fix it inside of the function")
    wished = [*_positional_names(function, len(examples)), *kwargs]
    names = Names()
    inputs = dict(zip([names.take(wish) for wish in wished], (*examples, *kwargs.values()), strict=True))
    held = dict(_held(function))
    refuse_hooks(held.values())
    is_module = isinstance(function, nn.Module)
    moved = [path for path in held if isinstance(held[path], nn.Parameter) and is_module and parameters == "inputs"]
    lifted = {names.take(path): held[path].detach().clone().requires_grad_(held[path].requires_grad) for path in moved}
    kept = {id(tensor): names.take(path) for path, tensor in held.items() if path not in moved}
    call = _in_a_row(function, len(examples), list(kwargs), moved)
    return Lifted(call, inputs | lifted, lifted, kept, names)


class Names:
    """Names for a graph, each given once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, wish: str) -> str:
        """`wish` as a name, with a number where it is taken."""
        plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in wish)[:100]
        plain = plain if why_not_a_name(plain) is None else f"v_{plain}"
        name, count = plain, 1
        while name in self._taken:
            count += 1
            name = f"{plain}_{count}"
        self._taken.add(name)
        return name


def _positional_names(function: Callable[..., Any], count: int) -> list[str]:
    """Those of the parameters; `*weights` are weights0, weights1; x0, x1 where Python knows none."""
    try:
        called = function.forward if isinstance(function, nn.Module) else function
        declared = list(inspect.signature(called).parameters.values())
    except (TypeError, ValueError):
        return [f"x{i}" for i in range(count)]
    names: list[str] = []
    for parameter in declared:
        if parameter.kind is parameter.VAR_POSITIONAL:
            return names[:count] + [f"{parameter.name}{i}" for i in range(count - len(names))]
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            names.append(parameter.name)
    return names[:count] + [f"x{i}" for i in range(len(names), count)]


def _held(function: Callable[..., Any]) -> Iterable[tuple[str, Tensor]]:
    """The parameters and buffers of a module, or of the module whose method it is, by path."""
    owner = function if isinstance(function, nn.Module) else getattr(function, "__self__", None)
    if isinstance(owner, nn.Module):
        yield from owner.named_parameters()
        yield from owner.named_buffers()


def _in_a_row(
    function: Callable[..., Any], positional: int, keywords: list[str], paths: list[str]
) -> Callable[..., Any]:
    """`function` of its arguments, its keyword arguments and its parameters, all by position."""

    def call(*tensors: Tensor) -> Any:
        args, rest = tensors[:positional], tensors[positional:]
        kwargs = dict(zip(keywords, rest, strict=False))
        if not paths:
            return _only_tensors(function(*args, **kwargs))
        assert isinstance(function, nn.Module)
        parameters = dict(zip(paths, rest[len(keywords) :], strict=True))
        return _only_tensors(torch.func.functional_call(function, parameters, args, kwargs))

    return call


def _only_tensors(results: Any) -> Any:
    for result in pytree.tree_leaves(results):
        if not isinstance(result, Tensor | None):
            raise TracingError(f"the function gives something else than tensors: a {type(result).__name__}")
    return results
