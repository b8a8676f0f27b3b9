"""Who takes part, in which part of the comparison, and in which form."""

from __future__ import annotations

from dataclasses import dataclass

from pullback_bench import forms
from pullback_bench.forms import Form

IN_PROCESS = "torch, in process"
OURS = ("Pullback", "small requests")
"""How rows begin that measure this service."""

BESIDE = ("small requests alone", "small requests beside 100 MB ones")


@dataclass(frozen=True)
class Row:
    """A server and a form of asking it."""

    name: str
    server: str
    form: Form
    parts: tuple[str, ...]


ROWS = (
    Row("Pullback, JSON", "pullback", forms.pullback_json, ("small", "large", "beside")),
    Row("Pullback, base64", "pullback", forms.pullback_base64, ("small", "large")),
    Row("Pullback, base64, gradient alone", "pullback", forms.pullback_base64_gradient, ("large",)),
    Row("Pullback, safetensors", "pullback", forms.pullback_safetensors, ("small", "large", "bulk")),
    Row("UM-Bridge, JSON", "umbridge", forms.umbridge, ("small", "large")),
    Row("Tesseract, JSON", "tesseract", forms.tesseract_json, ("small", "large")),
    Row("Tesseract, base64", "tesseract", forms.tesseract_base64, ("small", "large")),
    Row("Tesseract's torch recipe, JSON", "tesseract, recipe", forms.tesseract_json, ("small",)),
    Row("naive FastAPI, JSON", "naive", forms.naive, ("small", "large")),
    Row("FastAPI, echo", "echo", forms.echo_json, ("small",)),
    Row("bare ASGI, echo", "asgi", forms.echo_json, ("small",)),
    Row("bare ASGI, echo", "asgi", forms.echo_safetensors, ("large", "bulk")),
)
