"""torch tensors as raw bytes, and back. Needs torch, which `import pullback` does not load."""

from __future__ import annotations

import torch
from torch import Tensor

from pullback.arrays import Raw


def read_torch(tensor: Tensor) -> Raw:
    """The bytes of a tensor on any device; conjugated and negated views are carried out."""
    plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    data = plain.reshape(-1).view(torch.uint8).numpy().data if plain.numel() else b""
    return Raw(str(plain.dtype).removeprefix("torch."), tuple(plain.shape), data)


def build_torch(raw: Raw, device: torch.device | str = "cpu") -> Tensor:
    """The tensor, in memory of its own."""
    dtype: torch.dtype = getattr(torch, raw.dtype)
    flat = torch.frombuffer(bytearray(raw.data), dtype=dtype) if len(raw.data) else torch.empty(0, dtype=dtype)
    return flat.reshape(raw.shape).to(device)
