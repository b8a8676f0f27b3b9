"""Random tensors: odd shapes, every dtype, values at the edges of what a dtype holds."""

from __future__ import annotations

from random import Random
from typing import Any

import torch
from torch import Tensor

from pullback_service.program.types import DTYPES

Shape = tuple[int, ...]

SIZES = (0, 1, 1, 2, 2, 3, 3, 4, 5, 7)
LARGE = (16, 17, 33, 64)
USUAL = ("float64", "float64", "float64", "float32", "complex128")
INTEGERS = ("int64", "int64", "int64", "int32", "uint8")
MAX_ELEMENTS = 4096

_HOLD_INTEGERS = """
index indices target targets offsets lengths batch_sizes repeats input_lengths target_lengths pivots LU_pivots
tensor_indices_or_sections sorter test_elements fweights count start
"""
HOLD_INTEGERS = frozenset(_HOLD_INTEGERS.split())
HOLD_BOOLS = frozenset({"mask", "condition", "attn_mask"})

ODD_FLOATS = (float("nan"), float("inf"), float("-inf"), 1e308, -1e308, 1e-320, -0.0, 2.0**31, 2.0**63, -(2.0**63))
ODD_INTEGERS = (2**31 - 1, 2**31, -(2**31), 2**63 - 1, -(2**63), 255, 256, -128, 100, -7)


def random_shape(rng: Random) -> Shape:
    """From no axis to five, some of them empty; few elements."""
    if rng.random() < 0.1:
        return tuple(rng.choice(LARGE) for _ in range(rng.choice((1, 1, 2))))
    return tuple(rng.choice(SIZES) for _ in range(rng.choice((0, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5, 5))))


def near(rng: Random, shape: Shape) -> Shape:
    """A shape that differs from `shape` a little."""
    sizes = list(shape)
    match rng.randrange(6):
        case 0 if sizes:
            sizes[rng.randrange(len(sizes))] = rng.choice((0, 1))
        case 1 if sizes:
            sizes[rng.randrange(len(sizes))] += rng.choice((1, -1, 1))
        case 2 if sizes:
            del sizes[rng.randrange(len(sizes))]
        case 3:
            sizes.insert(rng.randint(0, len(sizes)), rng.choice((0, 1, 2)))
        case 4:
            rng.shuffle(sizes)
        case _:
            return random_shape(rng)
    return tuple(max(size, 0) for size in sizes)


def random_dtype(rng: Random, name: str, usual: str) -> str:
    """Mostly what a parameter of this name holds."""
    if rng.random() < 0.1:
        return rng.choice(list(DTYPES))
    if name in HOLD_INTEGERS:
        return rng.choice(INTEGERS)
    return "bool" if name in HOLD_BOOLS else usual


def random_tensor(rng: Random, shape: Shape, dtype: str) -> Tensor:
    """Values of one character: usual, or with some or all of them odd."""
    kind = DTYPES[dtype]
    odd = rng.choice((0.0, 0.0, 0.0, 0.0, 0.1, 1.0))
    count = 1
    for size in shape:
        count *= size
    draw = _floats if kind.is_floating_point else _complexes if kind.is_complex else _integers
    values = [draw(rng, odd, kind) for _ in range(count if count <= MAX_ELEMENTS else 0)]
    return torch.tensor(values or [0] * count, dtype=kind).reshape(shape)


def poisoned(rng: Random, tensor: Tensor) -> Tensor:
    """The same tensor with one of its values odd."""
    changed = tensor.clone()
    if changed.numel():
        dtype = str(tensor.dtype).removeprefix("torch.")
        flat = changed.reshape(-1)
        flat[rng.randrange(changed.numel())] = random_tensor(rng, (), dtype)
        changed = flat.reshape(tensor.shape)
    return changed


def _floats(rng: Random, odd: float, _: Any) -> float:
    return rng.choice(ODD_FLOATS) if rng.random() < odd else rng.choice((rng.gauss(0, 1), rng.random(), 1.0))


def _complexes(rng: Random, odd: float, kind: Any) -> complex:
    return complex(_floats(rng, odd, kind), _floats(rng, odd, kind))


def _integers(rng: Random, odd: float, kind: torch.dtype) -> int:
    value = rng.choice(ODD_INTEGERS) if rng.random() < odd else rng.choice((0, 0, 1, 1, 2, 3, -1))
    if kind == torch.bool:
        return value & 1
    limits = torch.iinfo(kind)
    return min(max(value, int(limits.min)), int(limits.max))
