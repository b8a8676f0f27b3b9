"""What a client gets back, one model an operation."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from pullback_schemas.graphs import Graph
from pullback_schemas.tensors import DType, TensorValue
from pullback_schemas.wire import WireModel

Mode: TypeAlias = Literal["forward", "reverse", "double-reverse", "reverse-over-reverse", "finite-differences"]
Path: TypeAlias = Literal["single", "coloured", "vmapped", "chunked", "looped"]


class Way(WireModel):
    """How a derivative was computed."""

    mode: Mode = Field(
        description="the direction of differentiation; double-reverse: J v as the pullback of the pullback"
    )
    path: Path = Field(description="one pass, many vectors at once (vmap), so many at a time, or one after the other")


class Meta(Way):
    """What was done to get the answer."""

    device: str = Field(description="where it was computed: cpu, or cuda with its number")
    jacobian: Way | None = Field(default=None, description="how the Jacobians inside of /v1/backward were computed")
    forward_count: int = Field(description="how often the graph ran forward")
    backward_count: int = Field(description="how often cotangents were pulled back")
    adjoint_error: float | None = Field(
        default=None,
        description="the relative difference of <w, Jv> and <J^T w, v> for random vectors, where it was measured",
    )
    notes: list[str] = Field(default=[], description="what is unusual about the way that was taken")
    together: int = Field(
        default=1,
        description="how many requests for one graph went through this run, if more than this one; see deterministic",
    )
    plan_cached: bool = Field(description="whether the worker knew graph, shapes and dtypes already")
    graph_sha256: str = Field(description="of the canonical form, as /v1/check tells it")
    seed: int | None = Field(default=None, description="of the operators that drew random numbers, if any did")
    torch_version: str = Field(description="the PyTorch that computed it")
    timings_ms: dict[str, float] = Field(description="milliseconds by phase, of the whole run")


Outputs = Annotated[dict[str, TensorValue], Field(description="the value of each output")]
Gradients = Annotated[dict[str, TensorValue], Field(description="by input or constant, each of its shape and dtype")]


class ForwardResult(WireModel):
    """The values of the outputs."""

    outputs: Outputs
    meta: Meta


Jacobians = dict[str, dict[str, TensorValue]]
Number = float | Literal["NaN", "Infinity", "-Infinity"]


class VectorReport(WireModel):
    """A gradient inside the graph; its value only where it is small."""

    dtype: DType = Field(description="of the gradient")
    shape: list[int] = Field(description="of the gradient")
    norm: Number = Field(description="Euclidean")
    value: TensorValue | None = Field(default=None, description="up to 64 elements; null beyond")


class PassedReport(WireModel):
    """What a node passes on to one of its arguments."""

    argument: str = Field(description="the parameter's name")
    reference: str = Field(description="what stands there in the graph")
    vector: VectorReport | None = Field(description="null: no gradient flows there")


class VisitReport(WireModel):
    """A node on the way back."""

    node: str = Field(description="its id in the graph")
    op: str = Field(description="the overload that it calls")
    received: dict[str, VectorReport] = Field(description='the gradient of each of its values; "" when it has one')
    passed: list[PassedReport] = Field(description="what each of its arguments gets")


class NonFinite(WireModel):
    """Where numbers stop being finite."""

    node: str = Field(
        description="the first node that makes infinities of finite numbers, or NaN of what is none; else the input "
        "that holds what spoils the answer"
    )
    phase: Literal["forward", "backward"] = Field(description="whether it does so among values or among gradients")


class Explanation(WireModel):
    """The backward pass node by node, from the outputs to the inputs."""

    nodes: list[VisitReport] = Field(description="in the order of the way back")
    first_non_finite: NonFinite | None = Field(description="null: everything is finite")


class BackwardResult(WireModel):
    """The values of the outputs and the gradients, each of its input's shape and dtype."""

    outputs: Outputs | None = Field(default=None, description="the value of each output; absent if `outputs` is false")
    gradients: dict[str, TensorValue | None] = Field(
        description="by input or constant, each of its shape and dtype; null as `unused` says"
    )
    jacobians: Jacobians | None = Field(default=None, description="jacobians[y][x] has the shape y.shape + x.shape")
    explanation: Explanation | None = Field(default=None, description="the way back, node by node, if asked for")
    meta: Meta


class JvpResult(WireModel):
    """The values of the outputs, and how fast each floating or complex one moves."""

    outputs: Outputs
    jvp: dict[str, TensorValue] = Field(
        description="J v by output, each of its shape, after one leading axis if batched; none of integers"
    )
    meta: Meta


class JacobianResult(WireModel):
    """The values of the outputs and the dense Jacobians."""

    outputs: Outputs
    jacobians: Jacobians = Field(description="jacobians[y][x] has the shape y.shape + x.shape")
    meta: Meta


class HvpResult(WireModel):
    """The values of the outputs, the gradients, and the products of the Hessian with the vectors."""

    outputs: Outputs
    gradients: Gradients
    hvp: dict[str, TensorValue] = Field(description="each of its input's shape, after one leading axis if batched")
    meta: Meta


class HessianResult(WireModel):
    """The values of the outputs, the gradients, and the dense Hessian."""

    outputs: Outputs
    gradients: Gradients
    hessian: Jacobians = Field(description="hessian[x][x2] has the shape x.shape + x2.shape")
    meta: Meta


class WorstEntry(WireModel):
    """The entry of a gradient that is furthest from its central difference."""

    index: list[int] = Field(description="its place in the input")
    gradient: TensorValue = Field(description="the gradient's number")
    difference: TensorValue = Field(description="the central difference")


class InputVerdict(WireModel):
    """Whether the gradient by one input is right."""

    status: Literal["passed", "failed", "not_checkable"] = Field(
        description="not_checkable: an integer, a kink or a jump, values that are not finite, or too little precision"
    )
    reason: str | None = Field(description="why it failed, or why it cannot be checked")
    rate: float | None = Field(
        description="the power of the step with which the linear model's remainder vanishes: 2 or more if the gradient "
        "is right, 1 if it is wrong; null where there is no remainder"
    )
    adjoint_error: float | None = Field(
        description="the relative difference of <w, Jv> in forward mode and <J^T w, v>; null without a forward rule"
    )
    worst: WorstEntry | None = Field(default=None, description="where it failed: the entry that is furthest off")


class GradcheckResult(WireModel):
    """Whether the gradients of <w, outputs> for a random w are right."""

    passed: bool | None = Field(description="null where none failed, but a floating or complex one was not checkable")
    inputs: dict[str, InputVerdict] = Field(description="by input or constant")
    meta: Meta


class ValueReport(WireModel):
    """A value of the graph, before anything runs."""

    dtype: DType | None = Field(description="null where only the run can tell")
    shape: list[int] | None = Field(description="null where only the run can tell")
    requires_grad: bool | None = Field(description="whether a gradient flows through it to wrt")


class NodeReport(WireModel):
    """A node of the graph, before anything runs."""

    op: str = Field(description="the overload")
    signature: str = Field(description="of the overload, as PyTorch writes it")
    values: dict[str, ValueReport] | None = Field(
        description='its values by the name a reference uses, "" when it has one; null: an input is unknown'
    )


class Cost(WireModel):
    """An estimate of one forward run."""

    nodes: int = Field(description="how many there are")
    elements: int = Field(description="elements of all values together")
    bytes: int = Field(description="bytes of all values together")
    flops: int = Field(description="floating-point operations of matrix products, convolutions and attention")


class CheckResult(WireModel):
    """A graph in all its forms, and what can be said of it."""

    graph: Graph = Field(description="the canonical form: sorted, topological, each overload named")
    text: str = Field(description="the same graph in the text form")
    sha256: str = Field(description="of the canonical form; equal for equal graphs")
    inputs: dict[str, ValueReport] = Field(description="what each input is")
    nodes: dict[str, NodeReport] = Field(description="what each node calls, and gives")
    outputs: dict[str, ValueReport] = Field(description="what each output is")
    differentiable: bool | None = Field(
        description="whether some output has a gradient; null where only the run can tell"
    )
    cost: Cost | None = Field(description="null where only the run can tell")


ConformanceMode: TypeAlias = Literal["reverse", "batched_reverse", "forward", "second_order"]


class Conformance(WireModel):
    """How an operator fared on PyTorch's own samples of it."""

    samples: int = Field(description="how many were tried")
    right: int = Field(description="how many gave the numbers of torch.autograd called directly")


class OpSummary(WireModel):
    """An operator in the catalogue's list."""

    name: str = Field(description="without `aten.`")
    aliases: list[str] = Field(description="the other names by which a graph may call it")
    summary: str | None = Field(description="what it does, in a sentence")
    signatures: list[str] = Field(description="of the overloads that are served")
    tier: Literal["open", "guarded", "isolated"] = Field(description="of its freest overload")
    differentiable: bool = Field(description="whether any overload has a gradient")
    modes: dict[ConformanceMode, Conformance] = Field(
        description="the kinds of derivative that were tried, none where no sample calls it"
    )


class OpList(WireModel):
    """The catalogue."""

    ops: list[OpSummary] = Field(description="by name")
    torch_version: str = Field(description="the PyTorch whose operators they are")


class OverloadInfo(WireModel):
    """One overload of an operator."""

    name: str = Field(description="as the canonical form has it")
    signature: str = Field(description="as PyTorch writes it")
    tier: Literal["open", "guarded", "isolated", "refused"] = Field(
        description="guarded: arguments are looked at first; isolated: runs in a process of its own"
    )
    reason: str | None = Field(description="why it is not open")


class OpInfo(WireModel):
    """An operator and its overloads."""

    name: str = Field(description="without `aten.`")
    aliases: list[str] = Field(description="the other names by which a graph may call it")
    summary: str | None = Field(description="what it does, in a sentence; null where it is not served")
    differentiable: bool = Field(description="whether any overload has a gradient")
    modes: dict[ConformanceMode, Conformance] = Field(
        description="the kinds of derivative that were tried, none where no sample calls it"
    )
    overloads: list[OverloadInfo] = Field(description="all that PyTorch has, served or not")


class Health(WireModel):
    """Whether the service lives, or takes requests."""

    status: Literal["ok", "starting", "failing", "full", "draining"] = Field(
        description="full: so is the queue; draining: the service was told to end"
    )
    reason: str | None = Field(default=None, description="why the service takes no requests now")
    workers: dict[str, int] | None = Field(
        default=None, description="how many are ready or busy, requests that wait, and workers restarted so far"
    )
    devices: dict[str, str] | None = Field(
        default=None, description='the devices that serve: "ok", or that their workers are "starting" or "failing"'
    )
    fences: dict[str, str] | None = Field(
        default=None, description='what the kernel keeps from a worker, by fence: "on", or why it is off'
    )
