"""The GPU of a process that has one."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys

import torch

log = logging.getLogger(__name__)

COUNT = "import torch; print(torch.cuda.device_count())"
COUNTED_IN_S = 60

KEPT_BYTES = 2**30
"""Of the GPU's memory, that torch may keep from one request to the next."""

_MATRIX = "a = x * rand([64, 64], dtype='float64') + 64 * eye(64)"
WARM_UP_GPU = (
    # What loads a library at its first use: linear algebra, convolutions, transforms, and the compiler of kernels.
    f"{_MATRIX}; y = linalg.solve(a, a).sum() + linalg.cholesky(a @ a.mT).sum()",
    f"{_MATRIX}; y = svd(a).S.sum() + linalg.eigh(a @ a.mT).eigenvalues.sum()",
    "y = conv2d(x * rand([1, 2, 8, 8], dtype='float64'), rand([3, 2, 3, 3], dtype='float64')).sum()",
    "y = conv2d(x.to('float32') * rand([1, 2, 8, 8]), rand([3, 2, 3, 3])).sum()",
    "y = fft.fft(x * rand([64], dtype='float64')).abs().sum()",
    "y = lgamma(x) + special.i0e(x) + sort(x * rand([64], dtype='float64')).values.cumsum(0).sum()",
)
"""Graphs of a number x."""


def count_gpus() -> int:
    """How many GPUs there are. Another process looks for them: to ask may start CUDA, after which none can fork."""
    if torch.version.cuda is None or os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return 0
    program = [sys.executable, "-P", "-c", COUNT]
    try:
        return int(subprocess.run(program, capture_output=True, timeout=COUNTED_IN_S, check=True).stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        log.error("the GPUs cannot be counted: %s", error)
        return 0


class Gpu:
    """A GPU that this process computes on, and no more of its memory than is allowed."""

    def __init__(self, name: str, memory_fraction: float) -> None:
        self.device = torch.device(name)
        torch.cuda.set_device(self.device)
        torch.cuda.set_per_process_memory_fraction(memory_fraction, self.device)
        # Products of float32 in float32: with less, gradients would not be those of the CPU.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False

    def settle(self) -> int:
        """Await what was begun, and give memory back; the bytes that are kept.

        Raises RuntimeError where the GPU has failed for good.
        """
        torch.cuda.synchronize(self.device)
        if torch.cuda.memory_reserved(self.device) > KEPT_BYTES:
            gc.collect()
            torch.cuda.empty_cache()
        return torch.cuda.memory_reserved(self.device)
