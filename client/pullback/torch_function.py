"""A graph on the service as a differentiable PyTorch function. Needs torch, which `import pullback` does not load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pullback.client import Client
from pullback.graphs import GraphLike
from pullback.remote_function import AbstractRemoteFunction


class TorchFunction(AbstractRemoteFunction):
    """A graph that is called with tensors and gives tensors, differentiable twice in reverse mode.

    Tensors go by position in the order of `inputs`, or by name; numbers and arrays are taken too, and have no gradient.
    It gives a tensor, or a tuple in the order of `outputs`. Forward and backward are a request each, with one seed if
    the graph draws random numbers; a backward pass through the backward pass asks for an hvp and a jvp.
    """

    def __init__(
        self, client: Client, graph: GraphLike, inputs: Sequence[str] | None = None, seed: int | None = None
    ) -> None:
        super().__init__(client, graph, inputs)
        self._seed = seed

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The outputs at these inputs. Raises TypeError where names do not fit, and what a Client raises."""
        given = self._names.bind(args, kwargs)
        tensors = {name: value for name, value in given.items() if isinstance(value, Tensor)}
        fixed = {name: value for name, value in given.items() if name not in tensors}
        remote = _Remote(self._client, self._graph, tuple(tensors), self.outputs, fixed, self._seed)
        outputs = _Forward.apply(remote, *tensors.values())  # type: ignore[no-untyped-call]
        return outputs[0] if len(outputs) == 1 else outputs


@dataclass(frozen=True, slots=True)
class _Remote:
    """The graph with whatever of its inputs is no tensor; `names` are those that are."""

    client: Client
    graph: GraphLike
    names: tuple[str, ...]
    outputs: tuple[str, ...]
    fixed: dict[str, Any]
    seed: int | None

    def inputs(self, tensors: Sequence[Tensor]) -> dict[str, Any]:
        return {**self.fixed, **dict(zip(self.names, tensors, strict=True))}


@dataclass(frozen=True, slots=True)
class _Call:
    """What is fixed when the backward pass comes: by which inputs, of which outputs, with which random numbers."""

    remote: _Remote
    wrt: tuple[str, ...]
    of: tuple[str, ...]
    seed: int | None


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, remote: _Remote, *tensors: Tensor) -> tuple[Tensor, ...]:
        answer = remote.client.forward(remote.graph, remote.inputs(tensors), seed=remote.seed)
        outputs = {name: torch.as_tensor(answer.outputs[name]) for name in remote.outputs}
        wrt = [name for name, is_needed in zip(remote.names, ctx.needs_input_grad[1:], strict=True) if is_needed]
        of = [name for name, y in outputs.items() if y.is_floating_point() or y.is_complex()]
        ctx.call = _Call(remote, tuple(wrt), tuple(of), answer.meta.seed if remote.seed is None else remote.seed)
        ctx.mark_non_differentiable(*(y for name, y in outputs.items() if name not in of))
        ctx.save_for_backward(*tensors)
        return tuple(outputs.values())

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        call: _Call = ctx.call
        vectors = [v for name, v in zip(call.remote.outputs, cotangents, strict=True) if name in call.of]
        found = iter(_Backward.apply(call, *vectors, *ctx.saved_tensors))  # type: ignore[no-untyped-call]
        return None, *(next(found) if name in call.wrt else None for name in call.remote.names)


class _Backward(torch.autograd.Function):
    """The gradients by `call.wrt`, as a function of the cotangents and the inputs."""

    @staticmethod
    def forward(ctx: Any, call: _Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        count = len(call.of)
        ctx.call = call
        ctx.save_for_backward(*tensors)
        vectors, inputs = dict(zip(call.of, tensors, strict=False)), call.remote.inputs(tensors[count:])
        client, graph = call.remote.client, call.remote.graph
        answer = client.backward(graph, inputs, vectors, wrt=call.wrt, outputs=False, seed=call.seed)
        return tuple(answer.gradients[name] for name in call.wrt)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *directions: Tensor) -> tuple[Tensor | None, ...]:
        """With <u, J^T v>: by v it is J u, by x it is the Hessian of <v, y> times u."""
        call: _Call = ctx.call
        client, graph, count = call.remote.client, call.remote.graph, len(call.of)
        vectors, inputs = dict(zip(call.of, ctx.saved_tensors, strict=False)), ctx.saved_tensors[count:]
        given, along = call.remote.inputs(inputs), dict(zip(call.wrt, directions, strict=True))
        needed = ctx.needs_input_grad[1:]
        pushed: dict[str, Tensor] = {}
        curved: dict[str, Tensor] = {}
        if any(needed[:count]):
            pushed = client.jvp(graph, given, along, seed=call.seed).jvp
        if any(needed[count:]):
            curved = client.hvp(graph, given, along, vectors, wrt=call.wrt, seed=call.seed).hvp
        return None, *(pushed.get(name) for name in call.of), *(curved.get(name) for name in call.remote.names)
