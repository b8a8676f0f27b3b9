"""Where the tensors of a process live, and the way there."""

from __future__ import annotations

import torch
from torch import Tensor

CPU = torch.device("cpu")

PINNED_BYTES = 2**20
"""From this size on, tensors go to a GPU through pinned memory, which it reads by itself."""


def place(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device. Raises torch.OutOfMemoryError where that has no room."""
    if device == CPU:
        return tensor
    if device.type == "cuda" and tensor.nbytes >= PINNED_BYTES:
        return _pinned(tensor).to(device, non_blocking=True)
    return tensor.to(device)


def _pinned(tensor: Tensor) -> Tensor:
    """Itself where no more memory can be pinned: it gets there all the same."""
    try:
        return tensor.pin_memory()
    except RuntimeError:
        return tensor
