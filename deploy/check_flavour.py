"""Run while the image is built: the torch that was installed must be of the flavour that was asked for."""

from __future__ import annotations

import sys

import torch

HINT = "give the index that the installation page of PyTorch names for it: --build-arg TORCH_INDEX_URL=..."

flavour, cuda = sys.argv[1], torch.version.cuda
if flavour not in ("cpu", "cuda"):
    sys.exit(f"FLAVOUR={flavour} is not known: it is cpu or cuda.")
if flavour == "cuda" and not cuda:
    sys.exit(f"FLAVOUR=cuda, but torch {torch.__version__}, which was installed, has no CUDA: {HINT}")
if flavour == "cpu" and cuda:
    print(f"NOTE: FLAVOUR=cpu, but torch {torch.__version__} came with CUDA {cuda}, gigabytes that stay unused: {HINT}")
print(f"torch {torch.__version__} for FLAVOUR={flavour}")
