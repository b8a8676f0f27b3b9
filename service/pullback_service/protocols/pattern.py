"""Requests that differ in their numbers alone, in whatever form: what such are cut into, and what is read of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from pullback_schemas.tensors import Encoding
from pullback_service.program.types import TensorType
from pullback_service.protocols.native_safetensors import STORED_NAMES

WITH_NUMPY = frozenset({torch.float64, torch.float32, torch.int64, torch.int32, torch.bool})
"""Dtypes whose elements numpy has and JSON spells."""

Path = tuple[str | int, ...]
"""Where in a request something is."""


class Unusual(Exception):
    """The request is not like those that are remembered."""


Cut = tuple[tuple[bytes, ...], list[bytes]]
"""A request in two: what it has in common with others, and the texts that stand between that."""


class Hole(ABC):
    """Numbers in such requests: those of a tensor, once its `kind` is known; else such as must be what they were.

    They are in the text at `column` of a request that was cut, and belong to what `path` leads to.
    """

    encoding: ClassVar[Encoding | None]
    is_finite: ClassVar[bool] = False
    """Whether each number that can be read is."""

    dtypes: ClassVar[frozenset[torch.dtype]] = frozenset(STORED_NAMES)

    def __init__(self, column: int, path: Path, text: bytes) -> None:
        self.column, self.path = column, path
        self.kind: TensorType | None = None
        self._text = text

    def read(self, texts: Sequence[bytes], axis: tuple[int, ...]) -> Tensor | None:
        """The tensor in each request, along one leading axis; None where there is none. Raises what `read_all` does.

        `axis` is its length, or nothing for the tensor of a single request. Unusual, if a text that is no tensor's is
        another one, or a number of many is not finite: what kernels make of such may depend on its place in a tensor.
        """
        if self.kind is not None:
            tensor = self.read_all(texts, self.kind.dtype, axis + self.kind.shape)
            if axis and not self.is_finite and not bool(tensor.isfinite().all()):
                raise Unusual
            return tensor
        if any(self.own(text) != self.own(self._text) for text in texts):
            raise Unusual
        return None

    def own(self, text: bytes) -> bytes:
        """What of a text is the hole's."""
        return text

    def reads(self, kind: TensorType, encoding: Encoding | None) -> bool:
        """Whether such a tensor can be read, if it is written so. None is the encoding of files."""
        return encoding == self.encoding and kind.dtype in self.dtypes

    @abstractmethod
    def read_all(self, texts: Sequence[bytes], dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        """One tensor of all texts. Raises Unusual, ValueError or a problem for what is none such."""


class Gap:
    """What is filled in for each answer, besides tensors: after them."""


class Template(ABC):
    """Answers but for the numbers of their tensors, and for whatever else is a `Gap`."""

    @abstractmethod
    def fill(
        self, columns: Sequence[Tensor], others: Sequence[bytes], axis: tuple[int, ...] = ()
    ) -> list[bytes | None]:
        """The answers; None for one that cannot be written.

        Args:
            columns: the tensors, in the order of the document, each in C order.
            others: what stands in the gaps of each answer, in JSON.
            axis: the length of the tensors' leading axis, along which the answers are; nothing for a single one.

        """
