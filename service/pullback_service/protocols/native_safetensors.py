"""The native protocol in safetensors: the same JSON in a file's metadata, and the tensors beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson
import torch
from torch import Tensor

from pullback_schemas.graphs import WrittenGraph
from pullback_schemas.problems import (
    MAX_LISTED,
    DtypeMismatch,
    Findings,
    InvalidSafetensors,
    NotJson,
    UnknownTensor,
    UnusedTensor,
    pointer_to,
    under,
)
from pullback_schemas.safetensors import Stored, read, write
from pullback_schemas.tensors import TensorRef
from pullback_service.forms import Piece
from pullback_service.program.types import DTYPE_NAMES, DTYPES
from pullback_service.protocols.answer import Answer, Later
from pullback_service.protocols.limits import check_size
from pullback_service.protocols.pattern import Path
from pullback_service.protocols.raw import from_raw, to_raw
from pullback_service.protocols.strict_json import parse_json
from pullback_service.protocols.tensor_writer import dense_of
from pullback_service.protocols.validation import validate

REQUEST, RESULT = "request", "result"
GRAPH, CONSTANTS = "graph", "constants"

STORED_NAMES = {
    torch.bool: "BOOL",
    torch.bfloat16: "BF16",
    torch.complex64: "C64",
    **{DTYPES[f"float{bits}"]: f"F{bits}" for bits in (16, 32, 64)},
    **{DTYPES[f"int{bits}"]: f"I{bits}" for bits in (8, 16, 32, 64)},
    **{DTYPES[f"uint{bits}"]: f"U{bits}" for bits in (8, 16, 32, 64)},
}
STORED_DTYPES = {name: dtype for dtype, name in STORED_NAMES.items()}


class FileTensor:
    """A tensor of a file where a request refers to it. `is_paired`: its last axis holds real and imaginary parts."""

    def __init__(self, stored: Stored, *, is_paired: bool) -> None:
        self.stored = stored
        self.is_paired = is_paired

    def read(self) -> Tensor:
        """The tensor, in the file's own memory where that can be. Raises InvalidElement."""
        name, shape, data = self.stored
        dtype = STORED_DTYPES[name]
        with under("/tensor"):
            if not self.is_paired:
                return from_raw(data, dtype, shape)
            return torch.view_as_complex(from_raw(data, dtype, shape, item_bytes=2 * dtype.itemsize))


def read_safetensors(body: bytes | bytearray | memoryview, parse: Callable[[bytes], Any]) -> Any:
    """The value of the request in the file, with FileTensors where it refers to the file's. `parse` reads its JSON."""
    text, references = _open(body)
    return references.resolve(parse(text))


def references_in(body: bytes) -> dict[str, Path]:
    """Where the request in a right file refers to each of its tensors: nowhere, if it does so more than once."""
    text, references = _open(body)
    references.resolve(parse_json(text))
    return {key: found[0] if len(found) == 1 else () for key, found in references.places.items()}


def _open(body: bytes | bytearray | memoryview) -> tuple[bytes, _References]:
    """The text of the request, and what it may refer to."""
    metadata, tensors = read(body)
    if REQUEST not in metadata:
        raise InvalidSafetensors(
            "The file's metadata hold no request.", expected=REQUEST, hint='Put the JSON request into "__metadata__".'
        )
    try:
        text = metadata[REQUEST].encode()
    except UnicodeEncodeError:
        raise NotJson("The request holds half a surrogate pair, which is no character.") from None
    return text, _References(tensors)


class _References:
    """What a request takes out of a file, and the places where it does."""

    def __init__(self, tensors: Mapping[str, Stored]) -> None:
        self.places: dict[str, list[Path]] = {key: [] for key in tensors}
        self._tensors = tensors
        self._unused = dict.fromkeys(tensors)
        self._findings = Findings()

    def resolve(self, request: Any) -> Any:
        """The request with FileTensors. Raises the problems of its references, and one for each tensor without any."""
        if isinstance(request, dict):
            request = {name: self._field(name, value) for name, value in request.items()}
        for key in list(self._unused)[:MAX_LISTED]:
            self._findings.add(
                UnusedTensor(
                    "The request does not use a tensor of the file.",
                    got=key[:64].encode("utf-8", "backslashreplace").decode(),
                    hint='Refer to it as {"tensor": "<key>"}, or leave it out of the file.',
                )
            )
        self._findings.check()
        return request

    def _field(self, name: str, value: Any) -> Any:
        if name == GRAPH:
            return self._graph(value)
        return self._tensors_in(value, (name,))

    def _graph(self, graph: Any) -> Any:
        if isinstance(graph, WrittenGraph) and b'"tensor"' in graph.text:
            graph = parse_json(graph.text)
        if isinstance(graph, dict) and CONSTANTS in graph:
            constants = self._tensors_in(graph[CONSTANTS], (GRAPH, CONSTANTS))
            return {**graph, CONSTANTS: constants}
        return graph

    def _tensors_in(self, value: Any, at: Path) -> Any:
        if isinstance(value, dict):
            return {name: self._tensor(item, (*at, name)) for name, item in value.items()}
        if isinstance(value, list):
            return [self._tensor(item, (*at, index)) for index, item in enumerate(value)]
        return value

    def _tensor(self, value: Any, at: Path) -> Any:
        if not (isinstance(value, dict) and "tensor" in value):
            return value
        with self._findings.catch(), under(pointer_to(*at)):
            reference = validate(TensorRef, value)
            stored = self._stored(reference)
            self.places[reference.tensor].append(at)
            return stored
        return None

    def _stored(self, reference: TensorRef) -> FileTensor:
        stored = self._tensors.get(reference.tensor)
        if stored is None:
            raise UnknownTensor(
                f"The file has no tensor {reference.tensor[:64]!r}.",
                pointer="/tensor",
                expected=[key[:64] for key in self._tensors][:MAX_LISTED],
                got=reference.tensor,
            )
        self._unused.pop(reference.tensor, None)
        dtype = STORED_DTYPES[stored.dtype]
        wanted = dtype if reference.dtype is None else DTYPES[reference.dtype]
        is_paired = wanted.is_complex and wanted.to_real() == dtype and stored.shape[-1:] == (2,)
        if wanted != dtype and not is_paired:
            raise DtypeMismatch(
                f"The file's tensor is {stored.dtype} of shape {list(stored.shape)}.",
                pointer="/dtype",
                expected=DTYPE_NAMES[dtype],
                got=reference.dtype,
                hint="Complex numbers may be pairs of their real dtype in one more, last axis; nothing is converted.",
            )
        return FileTensor(stored, is_paired=is_paired)


def write_safetensors(answer: Answer, max_bytes: int) -> list[Piece]:
    """The answer as a file, its tensors under the places that they have in it. Raises LimitExceeded."""
    tensors: dict[str, Tensor] = {}
    document = without_tensors(answer.document, tensors)
    by_need = sorted(tensors, key=lambda key: tensors[key].dtype != torch.complex128)  # which needs 16 bytes
    stored = {key: stored_of(tensors[key]) for key in by_need}
    pieces = write({RESULT: orjson.dumps(document).decode()}, stored)
    check_size(sum(map(len, pieces)), max_bytes, "Ask for less.")
    return pieces


def without_tensors(value: Any, tensors: dict[str, Tensor], at: str = "") -> Any:
    """The document with references to the tensors, which are put under their places in it, in its order."""
    if isinstance(value, Tensor):
        tensors[at] = dense = dense_of(value)
        return {"dtype": DTYPE_NAMES[dense.dtype], "shape": list(dense.shape), "tensor": at}
    if isinstance(value, Later):
        return value.make()
    if isinstance(value, Mapping):
        return {name: without_tensors(item, tensors, f"{at}/{name}" if at else name) for name, item in value.items()}
    if isinstance(value, list):
        return [without_tensors(item, tensors, f"{at}/{index}") for index, item in enumerate(value)]
    return value


def stored_of(dense: Tensor) -> Stored:
    """A tensor in C order as it stands in a file, not copied."""
    if dense.dtype == torch.complex128:
        dense = torch.view_as_real(dense)
    return Stored(STORED_NAMES[dense.dtype], tuple(dense.shape), to_raw(dense))
