"""Long arrays of numbers and long base64 are taken out of a JSON text, so that what is left of it is short.

They are read piece by piece, each while it is in the processor's cache; a parser of the whole text writes several times
its size into fresh memory.

It is right because each of them is a value of JSON, and a string stands in its place: if what is left is JSON, so is
the whole, and it says the same but for those values. Where one stood tells whoever parses what is left. Had it been
inside of a string, the first quote of what stands there would have ended that, and what is left were no JSON.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import pybase64
import simdjson

from pullback_service.protocols.number_arrays import MAX_AXES, Doubt, Numbers, brackets, read_numbers

Bytes = bytes | bytearray | memoryview

LONG = 2**14
"""Bytes of a value from which on it is worth its while."""

PIECE_BYTES = 2**16
"""What stays in the processor's cache while it is read."""

START = re.compile(
    rb':\s*+(?P<opening>"(?=[A-Za-z0-9+/]{%d})|\[{1,%d}+(?=[-+0-9.eE,\s\[\]]{%d}))' % (LONG, MAX_AXES, LONG)
)
"""What may be the start of a long value. No byte is looked at more than twice."""

STAND_IN = "taken "
BRACKET = ord("[")


class Taken(NamedTuple):
    """What is left of a text, and by the strings that stand there, Numbers, and the bytes that were base64."""

    rest: Bytes
    values: dict[str, Numbers | bytearray]


def take_out(body: Bytes) -> Taken:
    """The long values of a JSON text, and the rest. Raises Doubt, or a ValueError, where one is not what it seems."""
    view = memoryview(body)
    rest: list[bytes] = []
    values: dict[str, Numbers | bytearray] = {}
    at = 0
    while (found := START.search(view, at)) is not None:
        name = f"{STAND_IN}{len(values)}"
        rest += [bytes(view[at : found.start("opening")]), b'"%b"' % name.encode()]
        read = _base64 if found["opening"] == b'"' else _numbers
        values[name], at = read(view, *found.span("opening"))
    if not values:
        raise Doubt
    rest.append(bytes(view[at:]))
    text = b"".join(rest)
    if text.count(b'"' + STAND_IN.encode()) != len(values):  # somebody else's are among them
        raise Doubt
    return Taken(text, values)


def _base64(view: memoryview, _: int, start: int) -> tuple[bytearray, int]:
    """What the base64 from `start` on holds, and the place after its quote."""
    for at in range(start, len(view), PIECE_BYTES):
        length = bytes(view[at : at + PIECE_BYTES]).find(b'"')
        if length >= 0:
            return pybase64.b64decode_as_bytearray(view[start : at + length], validate=True), at + length + 1
    raise Doubt


def _numbers(view: memoryview, start: int, end: int) -> tuple[Numbers, int]:
    """The numbers of an array whose first brackets stand from `start` to `end`, and the place after it."""
    parser = simdjson.Parser()
    depth = end - start
    inner = b"]" * (depth - 1)
    pieces: list[Numbers] = []
    at, size = start + 1, PIECE_BYTES
    while True:
        text = bytes(view[at : at + size])
        ends = not inner or text.rfind(inner + b"]") >= 0  # backwards, bytes search faster for more than one
        last = text.find(inner + b"]") if ends else -1
        found = text.rfind(inner + b",") if last < 0 else last
        if found >= 0:
            length = found + len(inner)
            pieces.append(_piece(parser, text[:length], depth))
            at += length + 1
            if last >= 0:
                return _joined(pieces), at
        elif len(text) < size:
            raise Doubt
        else:
            size *= 8  # for one whole row


def _piece(parser: Any, rows: bytes, depth: int) -> Numbers:
    """Some rows of an array, or some numbers."""
    numbers = read_numbers(parser.parse(b"[%b]" % rows))
    if numbers is None:
        raise Doubt
    # Among the numbers of a single row no bracket is closed, and so none is opened.
    if depth > 1 and 1 + np.count_nonzero(np.frombuffer(rows, np.uint8) == BRACKET) != brackets(numbers):
        raise Doubt
    return numbers


def _joined(pieces: list[Numbers]) -> Numbers:
    """One after the other. Integers become floats beside such, as they do within one piece."""
    if len({piece.shape[1:] for piece in pieces}) != 1:
        raise Doubt
    return np.concatenate(pieces)
