"""The body of a request: its type, its size, its bytes."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.requests import Request

from pullback_schemas.problems import BodyTooLarge, NotAcceptable, UnsupportedMediaType

JSON = "application/json"
_ACCEPTED = {"*/*", "application/*", JSON}


def check_media(headers: Headers) -> None:
    """The body is JSON, not compressed, and so may the answer be. No content type at all counts as JSON."""
    media = headers.get("content-type", JSON).split(";")[0].strip().lower()
    if media != JSON:
        raise UnsupportedMediaType(
            f"The content type {media[:64]!r} is not served.",
            expected=JSON,
            got=media[:64],
            hint="Send the header content-type: application/json.",
        )
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedMediaType(
            f"The content encoding {encoding[:64]!r} is not served.", expected="identity", got=encoding[:64]
        )
    ranges = {part.split(";")[0].strip().lower() for part in headers.get("accept", "*/*").split(",")}
    if ranges.isdisjoint(_ACCEPTED):
        raise NotAcceptable(
            "The answer is JSON, which the accept header excludes.",
            expected=JSON,
            got=headers["accept"][:200],
        )


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The whole body. Raises BodyTooLarge as soon as it is known to be."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > max_bytes:
        raise _too_large(max_bytes)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            raise _too_large(max_bytes)
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"The body has more than {max_bytes:,} bytes.",
        expected=max_bytes,
        hint="Send tensors as base64, or fewer at once.",
    )
