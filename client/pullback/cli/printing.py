"""Answers as a person or a program reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from pullback.arrays import read
from pullback.cli.values import UsageError
from pullback_schemas import CheckResult, OpList


def to_json(value: Any) -> str:
    """Strict JSON: arrays as dtype, shape and nested data, numbers that are not finite as strings."""
    return json.dumps(_plain(value), allow_nan=False)


def to_text(value: BaseModel) -> str:
    """Each array under its name, then what else there is, a line each; catalogues and checks as lists."""
    match value:
        case OpList():
            return "\n".join(f"{op.name}  {op.summary or ''}".rstrip() for op in value.ops)
        case CheckResult():
            return "\n".join(_report(value))
    with np.printoptions(linewidth=100, threshold=200):
        return "\n".join(_line(".".join(path), item) for path, item in _leaves(value, ()) if item is not None)


def _line(name: str, item: Any) -> str:
    if isinstance(item, np.ndarray):
        return f"{name}  {item.dtype}{list(item.shape)}\n{item}"
    return f"{name}  {item}"


def _report(check: CheckResult) -> Iterator[str]:
    yield check.text
    for kind, values in (("input", check.inputs), ("output", check.outputs)):
        for name, value in values.items():
            known = "unknown" if value.dtype is None else f"{value.dtype}{value.shape}"
            yield f"{kind} {name}  {known}" + ("  has a gradient" if kind == "output" and value.requires_grad else "")
    if check.cost:
        yield f"cost  {check.cost.elements:,} elements, {check.cost.flops:,} floating-point operations"
    yield f"sha256  {check.sha256}"


def check_place(path: str) -> None:
    """Raise UsageError where nothing can be saved, before anything is computed."""
    if not path.endswith((".npz", ".json")):
        raise UsageError(f"{path} is neither a .npz nor a .json file")
    if not Path(path).parent.is_dir():
        raise UsageError(f"{path} is in no folder that there is")


def save(value: BaseModel, path: str) -> None:
    """The arrays of an answer into a file: .npz under names such as gradients/x, or .json."""
    if path.endswith(".npz"):
        arrays = {"/".join(key): item for key, item in _leaves(value, ()) if isinstance(item, np.ndarray)}
        np.savez(path, **arrays)  # type: ignore[arg-type]
    else:
        Path(path).write_text(to_json(value) + "\n")


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, BaseModel):
        value = {name: getattr(value, name) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(item, (*path, str(name)))
    elif isinstance(value, list) and any(isinstance(item, BaseModel) for item in value):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, str(index)))
    else:
        yield path, value


def _plain(value: Any) -> Any:
    match value:
        case np.ndarray():
            return {"dtype": value.dtype.name, "shape": list(value.shape), "data": _numbers(value)}
        case BaseModel():
            return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
        case Mapping():
            return {name: _plain(item) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
    return read(value)


def _numbers(array: np.ndarray[Any, Any]) -> Any:
    """Nested lists; complex numbers as pairs; the shortest digits that mean the number in its own precision."""
    if array.dtype.kind == "c":
        array = np.stack([array.real, array.imag], axis=-1)
    if array.dtype.kind == "f" and array.dtype.itemsize < 8:
        array = array.astype(str).astype(float)
    return read(array.tolist())
