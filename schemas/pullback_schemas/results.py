"""What a client gets back, one model an operation."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field

from pullback_schemas.graphs import Graph
from pullback_schemas.tensors import DType, TensorValue
from pullback_schemas.wire import WireModel


class Meta(WireModel):
    """What was done to get the answer."""

    device: str
    mode: Literal["forward", "reverse"] = Field(description="the direction of differentiation")
    path: Literal["single", "vmapped", "looped"] = Field(
        description="one backward pass, many at once (vmap), or one after the other"
    )
    forward_count: int = Field(description="how often the graph ran forward")
    backward_count: int = Field(description="how often a cotangent was pulled back")
    plan_cached: bool = Field(description="whether graph, shapes and dtypes were known already")
    graph_sha256: str
    seed: int | None = Field(default=None, description="of the operators that drew random numbers, if any did")
    torch_version: str
    timings_ms: dict[str, float] = Field(description="milliseconds by phase")


class ForwardResult(WireModel):
    """The values of the outputs."""

    outputs: dict[str, TensorValue]
    meta: Meta


class BackwardResult(WireModel):
    """The values of the outputs and the gradients, each of its input's shape and dtype."""

    outputs: dict[str, TensorValue]
    gradients: dict[str, TensorValue | None]
    jacobians: dict[str, dict[str, TensorValue]] | None = Field(
        default=None, description="jacobians[y][x] has the shape y.shape + x.shape"
    )
    meta: Meta


class ValueReport(WireModel):
    """A value of the graph, before anything runs."""

    dtype: DType | None = Field(description="null where only the run can tell")
    shape: list[int] | None = Field(description="null where only the run can tell")
    requires_grad: bool | None = Field(description="whether a gradient flows through it to wrt")


class NodeReport(WireModel):
    """A node of the graph, before anything runs."""

    op: str = Field(description="the overload")
    signature: str
    values: dict[str, ValueReport] | None = Field(
        description='its values by the name a reference uses, "" when it has one; null: an input is unknown'
    )


class Cost(WireModel):
    """An estimate of one forward run."""

    nodes: int
    elements: int = Field(description="elements of all values together")
    bytes: int = Field(description="bytes of all values together")
    flops: int = Field(description="floating-point operations of matrix products, convolutions and attention")


class CheckResult(WireModel):
    """A graph in all its forms, and what can be said of it."""

    graph: Graph = Field(description="the canonical form: sorted, topological, each overload named")
    text: str = Field(description="the same graph in the text form")
    sha256: str
    inputs: dict[str, ValueReport]
    nodes: dict[str, NodeReport]
    outputs: dict[str, ValueReport]
    differentiable: bool | None = Field(
        description="whether some output has a gradient; null where only the run can tell"
    )
    cost: Cost | None = Field(description="null where only the run can tell")


Mode: TypeAlias = Literal["reverse", "batched_reverse", "forward", "second_order"]


class Conformance(WireModel):
    """How an operator fared on PyTorch's own samples of it."""

    samples: int = Field(description="how many were tried")
    right: int = Field(description="how many gave the numbers of torch.autograd called directly")


class OpSummary(WireModel):
    """An operator in the catalogue's list."""

    name: str
    aliases: list[str]
    summary: str | None = Field(description="what it does, in a sentence")
    signatures: list[str] = Field(description="of the overloads that are served")
    tier: Literal["open", "guarded", "isolated"] = Field(description="of its freest overload")
    differentiable: bool
    modes: dict[Mode, Conformance] = Field(
        description="the kinds of derivative that were tried, none where no sample calls it"
    )


class OpList(WireModel):
    """The catalogue."""

    ops: list[OpSummary]
    torch_version: str


class OverloadInfo(WireModel):
    """One overload of an operator."""

    name: str = Field(description="as the canonical form has it")
    signature: str
    tier: Literal["open", "guarded", "isolated", "refused"]
    reason: str | None = Field(description="why it is not open")


class OpInfo(WireModel):
    """An operator and its overloads."""

    name: str
    aliases: list[str]
    summary: str | None = Field(description="what it does, in a sentence; null where it is not served")
    differentiable: bool
    modes: dict[Mode, Conformance]
    overloads: list[OverloadInfo]


class Health(WireModel):
    """Whether the service lives, or takes requests."""

    status: Literal["ok", "starting"]
    workers: dict[str, int] | None = None
    fences: dict[str, str] | None = Field(
        default=None, description='what the kernel keeps from a worker, by fence: "on", or why it is off'
    )
