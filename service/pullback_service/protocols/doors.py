"""The way in and the way out: the form of a body is chosen here, and known nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pullback_schemas.tensors import Encoding
from pullback_service.forms import PLAIN, Coding, Form, Forms, Piece
from pullback_service.protocols.answer import Answer
from pullback_service.protocols.fast_json import read_fast
from pullback_service.protocols.file_pattern import FileTemplate, cut_file, holes_in_file
from pullback_service.protocols.json_pattern import Base64Template, NumbersTemplate, cut_json, holes_in_json
from pullback_service.protocols.limits import check_size
from pullback_service.protocols.native_json import write_json
from pullback_service.protocols.native_safetensors import read_safetensors, write_safetensors
from pullback_service.protocols.pattern import Cut, Hole, Template
from pullback_service.protocols.strict_json import parse_json

SMALL_BYTES = 2**14
"""Of a request that may be like others."""

WRITERS: Final = {Form.JSON: write_json, Form.SAFETENSORS: write_safetensors}


@dataclass(frozen=True, slots=True)
class Sent:
    """The operation, the bytes of the request, no longer compressed, and the forms that they and the answer have."""

    operation: str
    body: bytes | bytearray | memoryview
    forms: Forms = PLAIN


def read_request(sent: Sent, *, fast: bool = False) -> Any:
    """The value that a body holds. Raises what is wrong with its form.

    A `fast` reader gives numbers without a Python object each, and Doubt for a problem.
    """
    parse = read_fast if fast else parse_json
    return read_safetensors(sent.body, parse) if sent.forms.sent is Form.SAFETENSORS else parse(sent.body)


def write_answer(answer: Answer, form: Form, max_bytes: int) -> list[Piece]:
    """The answer in pieces of bytes. Raises LimitExceeded, or MemoryError."""
    if answer.written is not None:
        check_size(len(answer.written), max_bytes, "Ask for less.")
        return [answer.written]
    return WRITERS[form](answer, max_bytes)


def cut(sent: Sent) -> Cut | None:
    """What a request has in common with others, and what it has not; None if it is not small, or compressed."""
    body = sent.body
    if sent.forms.coding is not Coding.IDENTITY or not isinstance(body, bytes) or len(body) > SMALL_BYTES:
        return None
    return cut_file(body) if sent.forms.sent is Form.SAFETENSORS else cut_json(body)


def holes_in(cut: Cut, form: Form) -> list[Hole] | None:
    """What may be numbers in a right request that was cut; None if that cannot be told."""
    return holes_in_file(cut) if form is Form.SAFETENSORS else holes_in_json(cut)


def template(form: Form, encoding: Encoding) -> type[Template]:
    """What writes answers as `write_answer` does, but for numbers and gaps."""
    if form is Form.SAFETENSORS:
        return FileTemplate
    return Base64Template if encoding == "base64" else NumbersTemplate
