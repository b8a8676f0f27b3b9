"""Tensors as they stand in JSON: the envelope. Their numbers are decoded elsewhere, in one go."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, NonNegativeInt, Tag, WithJsonSchema

from pullback_schemas.wire import Name, WireModel

DType: TypeAlias = Literal[
    "float16",
    "float32",
    "float64",
    "bfloat16",
    "complex64",
    "complex128",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
]
"""A dtype by its torch name."""

Encoding: TypeAlias = Literal["nested", "base64"]

_ENCODING_TOLD = "nested: numbers; base64: the little-endian bytes in C order"

NON_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
"""How JSON spells the numbers it has no token for."""

_ELEMENT = {"type": ["number", "boolean", "string", "array"], "items": {}}

Numbers = Annotated[Any, WithJsonSchema(_ELEMENT)]
"""A number, a boolean, one of the strings "NaN", "Infinity", "-Infinity", or nested lists of them."""


class FullTensor(WireModel):
    """A tensor that says what it is.

    `data` is nested to the shape or flat in row-major order; with `encoding: "base64"` it is the base64 of
    the little-endian bytes in C order. A complex element is a pair `[re, im]` in one extra last axis, which
    `shape` does not count.
    """

    dtype: DType | None = Field(default=None, description="left out: as the short form")
    shape: list[NonNegativeInt] | None = Field(default=None, description="may be left out when data is nested")
    encoding: Encoding = Field(default="nested", description=_ENCODING_TOLD)
    data: Numbers = Field(description="nested to the shape, flat in row-major order, or a base64 string")


class TensorRef(WireModel):
    """A tensor of the safetensors file that the request came in.

    With a complex `dtype`, a tensor of its real dtype holds pairs `[re, im]` in one extra last axis.
    """

    tensor: str = Field(description="the key in the file")
    dtype: DType | None = Field(default=None, description="left out: the file's")


class TensorSpec(WireModel):
    """What is known of an input before it comes: its dtype and shape, both optional.

    A name in the shape stands for a free size; equal names must be equal sizes.
    """

    dtype: DType | None = Field(default=None, description="left out: the tensor's own, or float64")
    shape: list[NonNegativeInt | Name] | None = Field(
        default=None, description="sizes, or names of free ones; left out: any"
    )


class TensorValue(WireModel):
    """A tensor in an answer: always complete."""

    dtype: DType = Field(description="PyTorch's name")
    shape: list[NonNegativeInt] = Field(description="without the last axis of complex pairs")
    encoding: Encoding = Field(default="nested", description=_ENCODING_TOLD)
    data: Numbers = Field(description="nested to the shape, or a base64 string")


def _form(value: Any) -> str:
    if isinstance(value, TensorRef) or (isinstance(value, dict) and "tensor" in value):
        return "reference"
    return "full" if isinstance(value, dict | FullTensor) else "short"


def _form_or_spec(value: Any) -> str:
    if isinstance(value, TensorSpec) or (isinstance(value, dict) and value.keys().isdisjoint(("data", "tensor"))):
        return "spec"
    return _form(value)


Tensor: TypeAlias = Annotated[
    Annotated[FullTensor, Tag("full")] | Annotated[TensorRef, Tag("reference")] | Annotated[Numbers, Tag("short")],
    Discriminator(_form),
]
"""A tensor in a request: full, a reference into its file, or short: numbers alone, of the dtype that the graph declares
for it, else float64."""

TensorOrSpec: TypeAlias = Annotated[
    Annotated[FullTensor, Tag("full")]
    | Annotated[TensorRef, Tag("reference")]
    | Annotated[TensorSpec, Tag("spec")]
    | Annotated[Numbers, Tag("short")],
    Discriminator(_form_or_spec),
]
"""A tensor, or only its dtype and shape."""
