"""Fake tensors that know what the kernels would cost which are called with them.

Kernels rather than operators: a composite one is seen as what it is made of, with the values in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import flop_registry
from typing_extensions import override

from pullback_service.program.failures import tensors_in

NO_KEYWORDS: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Spent:
    """What a step takes: elements read and written, floating-point operations, bytes of the largest value made."""

    touched: int = 0
    flops: int = 0
    largest_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Launch:
    """A kernel's arguments and results, and the elements of them all."""

    args: Sequence[Any]
    results: list[Tensor]
    elements: int


class MeteredFakes(FakeTensorMode):  # type: ignore[no-untyped-call]  # torch's metaclass
    """A fake mode that keeps account of every kernel; as a mode of its own beside it, that would take 14 % longer."""

    def __init__(self) -> None:
        super().__init__(allow_fallback_kernels=False)
        self.cache_enabled = False  # it is shared by all modes and never shrinks
        self._is_inside = False
        self._touched = self._flops = self._largest = 0

    def read(self) -> Spent:
        """What was spent since the last reading."""
        spent = Spent(self._touched, self._flops, self._largest)
        self._touched = self._flops = self._largest = 0
        return spent

    @override
    def dispatch(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] = NO_KEYWORDS
    ) -> Any:
        if self._is_inside or func.namespace != "aten" or func.is_view:
            return super().dispatch(func, types, args, kwargs)
        self._is_inside = True
        try:
            results = super().dispatch(func, types, args, kwargs)
        finally:
            self._is_inside = False
        self._account(func._overloadpacket, args, kwargs or NO_KEYWORDS, results)
        return results

    def _account(self, kernel: Any, args: Sequence[Any], kwargs: Mapping[str, Any], results: Any) -> None:
        made = tensors_in(results)
        elements = sum([tensor.numel() for tensor in tensors_in(args)])
        for tensor in made:
            count = tensor.numel()
            elements += count
            self._largest = max(self._largest, count * tensor.element_size())
        name = kernel.__name__
        if kernel in flop_registry:
            self._flops += flop_registry[kernel](*args, **kwargs, out_val=results)
        elif name in FLOPS:
            self._flops += FLOPS[name](Launch(args, made, elements))
        self._touched += TOUCHED[name](Launch(args, made, elements)) if name in TOUCHED else elements


Count = Callable[[Launch], int]


def _cubic(factor: int) -> Count:
    """So many times m n min(m, n), for a stack of m x n matrices."""

    def count(launch: Launch) -> int:
        matrix = launch.args[0]
        return factor * int(matrix.numel()) * (min(matrix.shape[-2:]) if matrix.dim() > 1 else 1)

    return count


def _attention(launch: Launch) -> int:
    query, key = launch.args[0], launch.args[1]
    return 4 * int(query.numel()) * int(key.shape[-2])


FLOPS: dict[str, Count] = {
    # What torch's own counter leaves out. Slow algorithms count for the time that they take.
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    **dict.fromkeys(("_linalg_svd", "linalg_eig", "_linalg_eigvals", "linalg_eigvals"), _cubic(40)),
    **dict.fromkeys(("_linalg_eigh", "linalg_matrix_exp", "linalg_lstsq", "linalg_pinv"), _cubic(20)),
    **dict.fromkeys(("linalg_qr", "geqrf", "ormqr", "linalg_householder_product"), _cubic(5)),
    **dict.fromkeys(("linalg_lu", "linalg_lu_factor_ex", "linalg_inv_ex", "_linalg_det", "_linalg_slogdet"), _cubic(3)),
    **dict.fromkeys(("_linalg_solve_ex", "linalg_ldl_factor_ex", "linalg_cholesky_ex", "cholesky_inverse"), _cubic(3)),
    **dict.fromkeys(("linalg_solve_triangular", "triangular_solve", "cholesky_solve"), _cubic(2)),
}

SLOW = 16
"""A special function takes about as long as reading and writing so many elements."""


def _times(factor: int) -> Count:
    return lambda launch: factor * launch.elements


def _sorting(launch: Launch) -> int:
    return launch.elements * max(1, max(launch.args[0].shape, default=1).bit_length())


def _windows(axes: int) -> Count:
    """A pool reads a whole window for each result; a single size stands for every axis."""

    def count(launch: Launch) -> int:
        sizes = launch.args[1] if isinstance(launch.args[1], Sequence) else [launch.args[1]]
        window = math.prod(sizes) if len(sizes) > 1 else sizes[0] ** axes
        return launch.elements + launch.results[0].numel() * window

    return count


def _distances(launch: Launch) -> int:
    """A distance goes over two whole vectors, with powers unless its p has a short cut."""
    norms = [argument for argument in launch.args if isinstance(argument, int | float)] or [2.0]
    each = 2 if norms[0] in (0, 1, 2, math.inf) else SLOW
    return launch.elements + each * launch.results[0].numel() * int(launch.args[0].shape[-1])


def _log_gammas(launch: Launch) -> int:
    return SLOW * launch.elements * int(launch.args[1])


def _trilinear(launch: Launch) -> int:
    return launch.elements + int(launch.args[0].shape[0] * launch.args[1].numel())


TOUCHED: dict[str, Count] = {
    # Kernels that touch each element more than once.
    **dict.fromkeys(("sort", "argsort", "msort", "topk", "_unique2", "unique_dim"), _sorting),
    **dict.fromkeys(("max_pool2d_with_indices", "avg_pool2d"), _windows(2)),
    **dict.fromkeys(("max_pool3d_with_indices", "avg_pool3d"), _windows(3)),
    **dict.fromkeys(("_cdist_forward", "_pdist_forward"), _distances),
    **dict.fromkeys(("_fft_c2c", "_fft_r2c", "_fft_c2r"), _times(8)),
    **dict.fromkeys(("lgamma", "digamma", "polygamma", "igamma", "igammac", "special_zeta"), _times(SLOW)),
    **dict.fromkeys(("logcumsumexp", "erfinv", "special_ndtri", "special_log_ndtr", "special_erfcx"), _times(SLOW)),
    **dict.fromkeys(("i0", "special_i0e", "special_i1", "special_i1e", "special_airy_ai"), _times(SLOW)),
    **dict.fromkeys((f"special_bessel_{kind}" for kind in ("j0", "j1", "y0", "y1")), _times(SLOW)),
    **dict.fromkeys((f"special_modified_bessel_{kind}" for kind in ("i0", "i1", "k0", "k1")), _times(SLOW)),
    **dict.fromkeys((f"special_scaled_modified_bessel_{kind}" for kind in ("k0", "k1")), _times(SLOW)),
    "mvlgamma": _log_gammas,
    "_trilinear": _trilinear,
}
