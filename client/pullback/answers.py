"""What the client gives back: numpy arrays by name."""

from __future__ import annotations

from dataclasses import dataclass

from pullback.arrays import Array
from pullback_schemas import Explanation, Meta

Blocks = dict[str, dict[str, Array]]


@dataclass(frozen=True, slots=True)
class Forward:
    """The outputs."""

    outputs: dict[str, Array]
    meta: Meta


@dataclass(frozen=True, slots=True)
class Backward:
    """Outputs, gradients (None: asked for as null and unused), and what else was asked for."""

    outputs: dict[str, Array]
    gradients: dict[str, Array | None]
    jacobians: Blocks
    explanation: Explanation | None
    meta: Meta


@dataclass(frozen=True, slots=True)
class Jvp:
    """Outputs, and how fast each of them moves."""

    outputs: dict[str, Array]
    jvp: dict[str, Array]
    meta: Meta


@dataclass(frozen=True, slots=True)
class Jacobian:
    """Outputs, and jacobians[output][input]."""

    outputs: dict[str, Array]
    jacobians: Blocks
    meta: Meta


@dataclass(frozen=True, slots=True)
class Hvp:
    """Outputs, gradients, and the products of the Hessian with the vectors."""

    outputs: dict[str, Array]
    gradients: dict[str, Array]
    hvp: dict[str, Array]
    meta: Meta


@dataclass(frozen=True, slots=True)
class Hessian:
    """Outputs, gradients, and hessian[x][x2]."""

    outputs: dict[str, Array]
    gradients: dict[str, Array]
    hessian: Blocks
    meta: Meta
