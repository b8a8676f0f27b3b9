"""The way in and the way out: the form of a body is chosen here, and known nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pullback_service.forms import PLAIN, Form, Forms, Piece
from pullback_service.protocols.answer import Answer
from pullback_service.protocols.fast_json import read_fast
from pullback_service.protocols.native_json import write_json
from pullback_service.protocols.native_safetensors import read_safetensors, write_safetensors
from pullback_service.protocols.strict_json import parse_json

WRITERS: Final = {Form.JSON: write_json, Form.SAFETENSORS: write_safetensors}


@dataclass(frozen=True, slots=True)
class Sent:
    """The bytes of a request, no longer compressed, and the forms that they and the answer have."""

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
    return WRITERS[form](answer, max_bytes)
