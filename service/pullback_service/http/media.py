"""What the headers say of the forms of a request and its answer."""

from __future__ import annotations

from functools import lru_cache

from pullback_schemas.problems import NotAcceptable, UnsupportedMediaType
from pullback_service.forms import PLAIN, Coding, Form, Forms
from pullback_service.http.head import Media

SERVED = [form.value for form in Form]
CODINGS = {**{coding.value: coding for coding in Coding}, "x-gzip": Coding.GZIP}
REMEMBERED = 256


@lru_cache(REMEMBERED)
def check_media(headers: Media) -> Forms:
    """The forms of the body and of the answer. No content type at all counts as JSON, and so does no accept.

    Raises UnsupportedMediaType or NotAcceptable.
    """
    forms = Forms(
        _sent(_text(headers.content_type, Form.JSON.value)),
        _wanted(_text(headers.accept, "*/*") or "*/*"),
        _coding(_text(headers.content_encoding, Coding.IDENTITY.value)),
    )
    return PLAIN if forms == PLAIN else forms


def _text(value: bytes | None, default: str) -> str:
    return default if value is None else value.decode("latin-1")


def _sent(content_type: str) -> Form:
    media = content_type.split(";")[0].strip().lower()
    if media not in SERVED:
        raise UnsupportedMediaType(
            f"The content type {media[:64]!r} is not served.",
            expected=SERVED,
            got=media[:64],
            hint=f"Send the header content-type: {Form.JSON.value}.",
        )
    return Form(media)


def _coding(content_encoding: str) -> Coding:
    name = content_encoding.strip().lower()
    if name not in CODINGS:
        raise UnsupportedMediaType(
            f"The content encoding {name[:64]!r} is not served.",
            expected=[coding.value for coding in Coding],
            got=name[:64],
            hint="Send the body as it is, without the header content-encoding.",
        )
    return CODINGS[name]


def _wanted(accept: str) -> Form:
    """The form that the caller likes best; of those that it likes equally, the one that it names most exactly."""
    ranges = [_range(part) for part in accept.split(",")]
    liking = {form: _liking(form, ranges) for form in Form}
    best = max(liking, key=lambda form: liking[form])
    if not liking[best][0]:
        raise NotAcceptable(
            "The accept header excludes every form of the answer.",
            expected=SERVED,
            got=accept[:200],
            hint=f"Send the header accept: {Form.JSON.value}, or none.",
        )
    return best


def _range(part: str) -> tuple[str, float]:
    """A media range and its quality, 0 to 1; one that cannot be read counts as none."""
    media, *parameters = [piece.strip().lower() for piece in part.split(";")]
    quality = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
    try:
        return media, min(max(float(quality), 0.0), 1.0)
    except ValueError:
        return media, 0.0


def _liking(form: Form, ranges: list[tuple[str, float]]) -> tuple[float, int]:
    """The quality that the most exact of the ranges gives a form, and how exact that is."""
    patterns = ["*/*", form.value.split("/")[0] + "/*", form.value]
    exactness, quality = max(
        ((patterns.index(media), quality) for media, quality in ranges if media in patterns), default=(0, 0.0)
    )
    return quality, exactness
