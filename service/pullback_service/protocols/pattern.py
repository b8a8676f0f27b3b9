"""Requests that differ in their numbers alone, in whatever form: what such are cut into, and what is read of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from pullback_schemas.tensors import Encoding
from pullback_service.program.types import TensorType
from pullback_service.protocols.answer import Json

Path = tuple[str | int, ...]
"""Where in a request something is."""

Cut = tuple[tuple[bytes, ...], list[bytes]]
"""A request in two: what it has in common with others, and the texts that stand between that."""

Axis = tuple[int, ...]
"""The length of a leading axis with a place for each request, or nothing for a single one."""

ALONE: Axis = ()


class Unusual(Exception):
    """The request is not like those that are remembered."""


class Hole(ABC):
    """Where numbers may be in such requests: in the text at `column` of a request that was cut, which is for `path`."""

    encoding: ClassVar[Encoding | None]
    """How the tensors are written that it can hold; None for those of files."""

    dtypes: ClassVar[frozenset[torch.dtype]]
    """Those that it can hold."""

    is_finite: ClassVar[bool] = False
    """Whether each number that can be read is."""

    def __init__(self, column: int, path: Path, text: bytes) -> None:
        self.column, self.path = column, path
        self._text = text

    def is_same(self, text: bytes) -> bool:
        """Whether there is in a text what was there."""
        return self._own(text) == self._own(self._text)

    def read(self, texts: Sequence[bytes], kind: TensorType, axis: Axis) -> Tensor:
        """The tensor that there is in a text, or in several, along one leading axis.

        Raises Unusual, ValueError or a problem for what is none such. One of many that is not finite is Unusual: what
        kernels make of it may depend on its place in a tensor.
        """
        tensor = self._read(texts, kind.dtype, axis + kind.shape)
        if axis and not self.is_finite and not bool(tensor.isfinite().all()):
            raise Unusual
        return tensor

    def _own(self, text: bytes) -> bytes:
        """What of a text is for the path."""
        return text

    @abstractmethod
    def _read(self, texts: Sequence[bytes], dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        """One tensor of all texts."""


class Gap:
    """What is filled in for each answer, besides tensors: after them."""


class Template(ABC):
    """Answers but for the numbers of their tensors, and for whatever else is a `Gap`."""

    @abstractmethod
    def __init__(self, document: Json) -> None: ...

    @staticmethod
    @abstractmethod
    def writes(tensor: Tensor) -> bool:
        """Whether many such tensors can be written at once."""

    @abstractmethod
    def fill(self, columns: Sequence[Tensor], others: Sequence[bytes], axis: Axis = ALONE) -> list[bytes | None]:
        """The answers; None for one that is to be come by in another way.

        Args:
            columns: the tensors, in the order of the document, each in C order.
            others: what stands in the gaps of each answer, in JSON.
            axis: that of the tensors, along which the answers are.

        """


def many(axis: Axis) -> int:
    """How many requests there are along it."""
    return axis[0] if axis else 1


def none_where_not_finite(rows: list[Any], column: Tensor, axis: Axis) -> list[Any]:
    """The rows of a column, but those of many that are not finite."""
    if not axis or not column.is_floating_point() or bool(column.isfinite().all()):
        return rows
    are_finite = column.reshape(len(rows), -1).isfinite().all(1).tolist()
    return [row if is_finite else None for row, is_finite in zip(rows, are_finite, strict=True)]
