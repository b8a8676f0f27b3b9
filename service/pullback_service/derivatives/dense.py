"""Linear maps written down densely, a chunk of rows or columns at a time.

What the Jacobian of complex tensors is: dy/dx where that exists, which is where x is real or y is holomorphic in x.
For a real y of a complex x = a + ib it is PyTorch's gradient of each element of y, dy/da + i dy/db.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from pullback_schemas.problems import NotDifferentiable
from pullback_service.derivatives.chunks import bases
from pullback_service.derivatives.linear import AbstractLinearMap, Batches, Images, Vectors

Blocks = dict[str, dict[str, Tensor]]

HOLOMORPHIC = 512
"""How many units of rounding dy/d(conj x) may have relative to the largest dy/dx of an output element."""


class _Block:
    """dy/dx as a matrix that is put together from some of its rows or columns at a time.

    It is in the precision of the input, and complex where either end is.
    """

    def __init__(self, y: str, output: Tensor, x: str, leaf: Tensor) -> None:
        self._y, self._output, self._x, self._leaf = y, output, x, leaf
        is_complex = output.is_complex() or leaf.is_complex()
        self._dtype = _precise(leaf).to_complex() if is_complex else leaf.dtype
        self._size = output.numel(), leaf.numel()
        self._matrix: Tensor | None = None

    def put_rows(self, start: int, first: Tensor, second: Tensor) -> None:
        """Rows from `start` on, as the gradients for cotangents 1 and i."""
        if not self._output.is_complex():
            rows = first
        elif not self._leaf.is_complex():
            rows = torch.complex(first.to(_precise(first)), second.to(_precise(second)))
        else:
            sizes = self._output.detach().flatten()[start : start + len(first)]
            rows = self._holomorphic(_matrix(first), _matrix(second), sizes[:, None]).conj()
        self._put(_matrix(rows), axis=0, start=start)

    def put_columns(self, start: int, first: Tensor, second: Tensor) -> None:
        """Columns from `start` on, as the tangents along 1 and i."""
        if not self._leaf.is_complex():
            columns = first
        elif not self._output.is_complex():
            columns = torch.complex(first.to(_precise(first)), second.to(_precise(second)))
        else:
            sizes = self._output.detach().flatten()
            columns = self._holomorphic(_matrix(first).T, _matrix(second).T, sizes[:, None]).T
        self._put(_matrix(columns).T, axis=1, start=start)

    def dense(self) -> Tensor:
        """The block of shape y.shape + x.shape."""
        return self._whole().reshape(self._output.shape + self._leaf.shape)

    def _put(self, part: Tensor, *, axis: int, start: int) -> None:
        if part.shape == self._size:  # all of it at once: not copied
            self._matrix = part.to(self._dtype)
        else:
            self._whole().narrow(axis, start, part.shape[axis]).copy_(part)

    def _whole(self) -> Tensor:
        if self._matrix is None:
            self._matrix = torch.empty(self._size, dtype=self._dtype, device=self._leaf.device)
        return self._matrix

    def _holomorphic(self, first: Tensor, second: Tensor, outputs: Tensor) -> Tensor:
        """The complex-linear part of a map from its values at 1 and i, a row an output element.

        Raises NotDifferentiable if there is another part: it is told from rounding row by row, by the row's largest
        entry, or where entries cancel by y / x.
        """
        linear, antilinear = (first - 1j * second) / 2, (first + 1j * second) / 2
        if linear.numel():
            at = float(self._leaf.detach().abs().max()) or 1.0
            scale = linear.abs().amax(1, keepdim=True) + outputs.abs() / at
            excess = antilinear.abs() / scale
            if bool((excess > HOLOMORPHIC * torch.finfo(first.dtype).eps).any()):
                raise NotDifferentiable(
                    f"{self._y} is not holomorphic in {self._x!r} here, so that there is no complex derivative.",
                    expected="dy/d(conj x) = 0",
                    got=f"up to {float(excess.nan_to_num(0).max()):.3g} of dy/dx",
                    hint="Split the tensors by view_as_real and join them in the graph, or ask for products with "
                    "vectors.",
                )
        return linear


def dense_by_rows(pullback: AbstractLinearMap, chunk: int, *, called: str = "The output") -> Blocks:
    """blocks[y][x] of shape y.shape + x.shape for a map from cotangents of y to gradients of x.

    `called` says what the y are, in problems.
    """
    batches = Batches(pullback)
    blocks: Blocks = {}
    for y, output in pullback.source.items():
        row = {x: _Block(f"{called} {y!r}", output, x, leaf) for x, leaf in pullback.target.items()}
        for start, basis in _bases(batches, output, chunk):
            images = _images(batches, y, basis)
            for x, block in row.items():
                block.put_rows(start, *images[x])
        blocks[y] = {x: block.dense() for x, block in row.items()}
    return blocks


def dense_by_columns(pushforward: AbstractLinearMap, chunk: int) -> Blocks:
    """blocks[y][x] of shape y.shape + x.shape for a map from tangents of x to tangents of y."""
    batches = Batches(pushforward)
    blocks: Blocks = {y: {} for y in pushforward.target}
    for x, leaf in pushforward.source.items():
        column = {y: _Block(f"The output {y!r}", output, x, leaf) for y, output in pushforward.target.items()}
        for start, basis in _bases(batches, leaf, chunk):
            images = _images(batches, x, basis)
            for y, block in column.items():
                block.put_columns(start, *images[y])
        for y, block in column.items():
            blocks[y][x] = block.dense()
    return blocks


def times(blocks: Blocks, vectors: Vectors, outputs: Vectors) -> Images:
    """What the blocks say that each output does along the vectors."""
    images: Images = {}
    for y, row in blocks.items():
        products = [_times(block, vectors[x], outputs[y]) for x, block in row.items()]
        images[y] = torch.stack(products).sum(0) if products else None
    return images


def _times(block: Tensor, vector: Tensor, output: Tensor) -> Tensor:
    """As `times`, for one block, in its precision or float32's."""
    dtype = torch.promote_types(block.dtype, torch.float32)
    matrix, column = block.reshape(output.numel(), vector.numel()).to(dtype), vector.flatten().to(dtype)
    is_gradient = vector.is_complex() and not output.is_complex()
    image = (matrix.conj() @ column).real if is_gradient else matrix @ column
    return image.reshape(output.shape).to(torch.complex128 if output.is_complex() else torch.float64)


def _bases(batches: Batches, like: Tensor, chunk: int) -> Iterator[tuple[int, Tensor]]:
    if like.numel() > chunk:
        batches.linear.work.took("chunked")
    return bases(like, chunk)


def _images(batches: Batches, name: str, basis: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """The images of the basis vectors and, where they are complex, of i times them."""
    first = _zeros_for_none(batches, batches.images({name: basis}), len(basis))
    second = _zeros_for_none(batches, batches.images({name: 1j * basis}), len(basis)) if basis.is_complex() else first
    return {target: (first[target], second[target]) for target in first}


def _matrix(images: Tensor) -> Tensor:
    """One row an image."""
    return images.reshape(len(images), images[0].numel())


def _zeros_for_none(batches: Batches, images: Images, size: int) -> dict[str, Tensor]:
    likes = batches.linear.target
    return {
        name: likes[name].new_zeros((size, *likes[name].shape)) if image is None else image
        for name, image in images.items()
    }


def _precise(tensor: Tensor) -> torch.dtype:
    """The real dtype of the tensor's precision that has a complex partner."""
    return torch.promote_types(tensor.dtype.to_real(), torch.float32)
