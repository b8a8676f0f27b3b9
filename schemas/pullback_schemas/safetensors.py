"""Files of tensors as bytes: eight of the header's length, the header in JSON, the data. All little-endian, C order."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from math import prod
from typing import Any, NamedTuple, NoReturn

from pullback_schemas.problems import InvalidSafetensors

ITEM_BYTES = {
    "BOOL": 1,
    "I8": 1,
    "U8": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "I64": 8,
    "U64": 8,
    "F64": 8,
    "C64": 8,
}
"""The dtypes that are read and written, and how many bytes an element of each takes."""

MAX_HEADER_BYTES = 64 * 2**20
MAX_AXES = 65
"""One more than a tensor has: complex numbers may be pairs in a last axis."""

LENGTH_BYTES = 8
ALIGNMENT = 64
METADATA = "__metadata__"
Buffer = bytes | memoryview


class Stored(NamedTuple):
    """A tensor in a file. What is read is a view into the file; what is written may be any C-contiguous buffer."""

    dtype: str
    shape: tuple[int, ...]
    data: Buffer


def read(file: Buffer | bytearray) -> tuple[dict[str, str], dict[str, Stored]]:
    """The metadata and the tensors by their keys, nothing copied. Raises InvalidSafetensors."""
    view = memoryview(file).cast("B")
    size = int.from_bytes(view[:LENGTH_BYTES], "little")
    if len(view) < LENGTH_BYTES + 2:
        raise InvalidSafetensors(f"A safetensors file has a length and a header; this has {len(view)} bytes.")
    if size > MAX_HEADER_BYTES:
        raise InvalidSafetensors(
            f"The header has {size:,} bytes; the limit is {MAX_HEADER_BYTES:,}.",
            expected=MAX_HEADER_BYTES,
            got=size,
            hint="This looks like JSON: send it with content-type: application/json." if view[0] == ord("{") else None,
        )
    if size > len(view) - LENGTH_BYTES:
        raise InvalidSafetensors(
            f"The header has {size:,} bytes; {len(view) - LENGTH_BYTES:,} follow its length.",
            expected=size,
            got=len(view) - LENGTH_BYTES,
        )
    header = _parse(bytes(view[LENGTH_BYTES : LENGTH_BYTES + size]))
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise InvalidSafetensors(
            "The metadata are not an object of strings.",
            got=METADATA,
            hint="Write the request in it as a text of JSON.",
        )
    data = view[LENGTH_BYTES + size :]
    spans = {key: _span(key, info) for key, info in header.items()}
    _check_cover(spans, len(data))
    return metadata, {
        key: Stored(info["dtype"], tuple(info["shape"]), data[slice(*spans[key])]) for key, info in header.items()
    }


def write(metadata: Mapping[str, str], tensors: Mapping[str, Stored]) -> list[Buffer]:
    """A file in pieces: its head, then the tensors' own memory, each aligned to its elements."""
    text, order = lay_out(metadata, tensors)
    return [head(text), *(tensors[key].data for key in order)]


def lay_out(metadata: Mapping[str, str], tensors: Mapping[str, Stored]) -> tuple[bytes, list[str]]:
    """The header, and the keys of the tensors in the order of their data, which nobody looks at.

    Larger elements come first. Tensors whose elements have one size keep their order.
    """
    order = sorted(tensors, key=lambda key: -ITEM_BYTES[tensors[key].dtype])
    header: dict[str, Any] = {METADATA: dict(metadata)} if metadata else {}
    begin = 0
    for key in order:
        dtype, shape, _ = tensors[key]
        end = begin + prod(shape) * ITEM_BYTES[dtype]
        header[key] = {"dtype": dtype, "shape": shape, "data_offsets": (begin, end)}
        begin = end
    return json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode(), order


def head(header: bytes) -> bytes:
    """What a file with this header begins with: the data follow at a multiple of 64 bytes."""
    text = header + b" " * (-(LENGTH_BYTES + len(header)) % ALIGNMENT)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text


def head_of(file: bytes) -> bytes | None:
    """What a file begins with: all of it but the data. None if it ends before; nothing else is checked."""
    size = LENGTH_BYTES + int.from_bytes(file[:LENGTH_BYTES], "little")
    return file[:size] if LENGTH_BYTES < size <= len(file) else None


def _parse(text: bytes) -> dict[str, Any]:
    """The header: strict JSON, an object."""
    if text[:1] != b"{":
        raise InvalidSafetensors("The header does not begin with {.")
    try:
        header: dict[str, Any] = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidSafetensors(f"The header is not JSON: {error}.") from None
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise InvalidSafetensors("A key of the header stands there twice.", got=_printable(twice))
    return found


def _refuse(token: str) -> NoReturn:
    raise ValueError(f"{token} is no number")


def _printable(key: str) -> str:
    return key[:64].encode("utf-8", "backslashreplace").decode()


def _span(key: str, info: Any) -> tuple[int, int]:
    """Where the tensor's bytes begin and end. Raises what is wrong with its entry, but for its place in the file."""

    def refuse(what: str, expected: Any = None) -> InvalidSafetensors:
        name = _printable(key)
        return InvalidSafetensors(f"The tensor {name!r} of the file {what}.", expected=expected, got=name)

    if not isinstance(info, dict) or info.keys() != {"dtype", "shape", "data_offsets"}:
        raise refuse("is not an object of dtype, shape and data_offsets")
    dtype, shape, offsets = info["dtype"], info["shape"], info["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise refuse("has a dtype that is not served", list(ITEM_BYTES))
    if not _are_sizes(shape) or len(shape) > MAX_AXES:
        raise refuse(f"has no list of at most {MAX_AXES} sizes for its shape")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise refuse("has no two offsets")
    begin, end = offsets
    needed = prod(shape) * ITEM_BYTES[dtype]
    if end - begin != needed:
        raise refuse(f"has {end - begin} bytes; {dtype} of shape {shape} takes {needed}", min(needed, 2**63))
    return begin, end


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(size) is int and 0 <= size < 2**63 for size in value)


def _check_cover(spans: Mapping[str, tuple[int, int]], size: int) -> None:
    """Each byte of the data belongs to one tensor."""
    at = 0
    for key, (begin, end) in sorted(spans.items(), key=lambda item: item[1]):
        if begin != at or end > size:
            what = "ends after the file" if end > size else "leaves a hole" if begin > at else "overlaps another one"
            name = _printable(key)
            raise InvalidSafetensors(
                f"The tensor {name!r} of the file begins at {begin} and ends at {end}: it {what}.", got=name
            )
        at = end
    if at != size:
        raise InvalidSafetensors(f"{size - at:,} bytes of the file belong to no tensor.", expected=at, got=size)
