"""numpy arrays as wire tensors, and back, bit for bit."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pullback_schemas import TensorValue

Array = NDArray[Any]


def encode(value: ArrayLike) -> Any:
    """A numpy array in full base64 form; numbers and lists as they are, in the short form."""
    if not isinstance(value, np.ndarray | np.generic):
        return value
    array = np.asarray(value)
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    data = base64.b64encode(little.tobytes()).decode()
    return {"dtype": array.dtype.name, "shape": list(array.shape), "encoding": "base64", "data": data}


def decode(value: TensorValue) -> Array:
    """The array of a tensor in base64 form; bfloat16, which numpy lacks, comes as float32 of the same value."""
    raw = base64.b64decode(value.data)
    if value.dtype == "bfloat16":
        bits = np.frombuffer(raw, "<u2").astype(np.uint32) << 16
        return bits.view(np.float32).reshape(value.shape)
    return np.frombuffer(raw, np.dtype(value.dtype).newbyteorder("<")).reshape(value.shape).copy()
