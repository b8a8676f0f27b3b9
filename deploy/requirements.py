"""Run while the image is built: what the given pyproject.toml files need from elsewhere, a line each."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

EXTRAS = ("telemetry",)
"""Extras that the image has."""

for manifest in sys.argv[1:]:
    project = tomllib.loads(Path(manifest).read_text())["project"]
    extras = project.get("optional-dependencies", {})
    for needed in [*project["dependencies"], *(name for extra in EXTRAS for name in extras.get(extra, ()))]:
        if not needed.startswith("pullback"):
            print(needed)
