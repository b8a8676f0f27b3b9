"""The wire contract of Pullback: what a request and an answer look like. No torch, no web framework."""

from pullback_schemas.graphs import Graph, Node
from pullback_schemas.problems import Problem
from pullback_schemas.requests import (
    BackwardRequest,
    CheckRequest,
    ForwardRequest,
    GradcheckRequest,
    HessianRequest,
    HvpRequest,
    JacobianOptions,
    JacobianRequest,
    JvpRequest,
)
from pullback_schemas.results import (
    BackwardResult,
    CheckResult,
    Explanation,
    ForwardResult,
    GradcheckResult,
    Health,
    HessianResult,
    HvpResult,
    JacobianResult,
    JvpResult,
    Meta,
    OpInfo,
    OpList,
)
from pullback_schemas.tensors import DType, Encoding, FullTensor, Tensor, TensorRef, TensorSpec, TensorValue

__version__ = "0.1.0"

__all__ = [
    "BackwardRequest",
    "BackwardResult",
    "CheckRequest",
    "CheckResult",
    "DType",
    "Encoding",
    "Explanation",
    "ForwardRequest",
    "ForwardResult",
    "FullTensor",
    "GradcheckRequest",
    "GradcheckResult",
    "Graph",
    "Health",
    "HessianRequest",
    "HessianResult",
    "HvpRequest",
    "HvpResult",
    "JacobianOptions",
    "JacobianRequest",
    "JacobianResult",
    "JvpRequest",
    "JvpResult",
    "Meta",
    "Node",
    "OpInfo",
    "OpList",
    "Problem",
    "Tensor",
    "TensorRef",
    "TensorSpec",
    "TensorValue",
    "__version__",
]
