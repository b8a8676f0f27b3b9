"""Compressed bodies, inflated within a bound."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from typing import Final

from pullback_schemas.problems import BodyTooLarge, InvalidCoding
from pullback_service.forms import Coding

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Bytes = bytes | memoryview

PIECE_BYTES = 2**18
GZIP_ONLY = 16 + zlib.MAX_WBITS
WINDOW_LOG = 23
"""What RFC 9659 lets a sender use: 8 MiB."""

MAX_MEMBERS = 2**14
"""Parts of a body that are compressed each on its own. One costs microseconds, even if it is 9 bytes for nothing."""


def inflate(body: Bytes, coding: Coding, max_bytes: int) -> Bytes | bytearray:
    """The body as it was before it was compressed. Raises InvalidCoding, or BodyTooLarge as soon as it is."""
    if coding is Coding.IDENTITY:
        return body
    inflated = bytearray()
    try:
        for piece in INFLATERS[coding](memoryview(body)):
            inflated += piece
            if len(inflated) > max_bytes:
                raise BodyTooLarge(f"The body has more than {max_bytes:,} bytes, inflated.", expected=max_bytes)
    except (zlib.error, zstd.ZstdError) as error:
        raise InvalidCoding(f"The body is not {coding.value}: {error}.") from None
    return inflated


def _gunzip(body: memoryview) -> Iterator[bytes]:
    """Member after member."""
    at = 0
    for _ in range(MAX_MEMBERS):
        member = zlib.decompressobj(GZIP_ONLY)
        while not member.eof:
            fed = body[at : at + PIECE_BYTES]
            piece = member.decompress(fed, PIECE_BYTES)
            taken = len(fed) - len(member.unconsumed_tail) - len(member.unused_data)
            if not (piece or taken or member.eof):
                raise _truncated()
            at += taken
            yield piece
        if at == len(body):
            return
    raise _too_many()


def _unzstd(body: memoryview) -> Iterator[bytes]:
    """Frame after frame."""
    at = 0
    for _ in range(MAX_MEMBERS):
        frame = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG})
        while not frame.eof:
            fed = body[at : at + PIECE_BYTES] if frame.needs_input else b""
            if frame.needs_input and not fed:
                raise _truncated()
            piece = frame.decompress(fed, PIECE_BYTES)
            at += len(fed)
            yield piece
        at -= len(frame.unused_data)
        if at == len(body):
            return
    raise _too_many()


def _too_many() -> InvalidCoding:
    return InvalidCoding(
        f"The compressed body has more than {MAX_MEMBERS:,} members.",
        expected=MAX_MEMBERS,
        hint="Compress the body in one piece.",
    )


def _truncated() -> InvalidCoding:
    return InvalidCoding("The compressed body ends too soon.", hint="Was all of it sent?")


INFLATERS: Final = {Coding.GZIP: _gunzip, Coding.ZSTD: _unzstd}
