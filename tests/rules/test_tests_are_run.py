"""No folder of tests is forgotten."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
ELSEWHERE = {"tests/docker"}
"""What `make docker-test` runs."""


def test_every_folder_of_tests_is_among_those_that_make_test_runs():
    with (ROOT / "pyproject.toml").open("rb") as file:
        listed = tomllib.load(file)["tool"]["pytest"]["ini_options"]["testpaths"]
    folders = {str(path.parent.relative_to(ROOT)) for path in ROOT.glob("tests/*/**/test_*.py")}
    assert folders == {*listed, *ELSEWHERE}
