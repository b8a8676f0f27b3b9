"""The comparison with peers runs, and takes no wrong answer for a right one. Nothing here is about speed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pullback_bench import forms
from pullback_bench.case import case
from pullback_bench.clients import Unanswered
from pullback_bench.parts import take_turns
from pullback_bench.results import LARGE, Results

ROOT = Path(__file__).parents[2]
ROWS = ["Pullback, JSON", "Pullback, base64", "naive FastAPI, JSON"]


def test_the_service_and_the_naive_handler_answer_alike_and_are_told_in_one_page(tmp_path):
    page = tmp_path / "page.md"
    command = [sys.executable, "-m", "pullback_bench", "--quick", "--parts", "small", "large", "--rows", *ROWS]
    done = subprocess.run(
        [*command, "--page", str(page)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "benchmarks")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = page.read_text()
    assert [told.count(f"\n| {row} |") for row in ROWS] == [2, 2, 2]
    assert "Nobody was left out." in told
    assert "naive FastAPI, JSON" in page.with_suffix(".svg").read_text()


def test_the_right_answer_is_that_of_torch():
    import torch

    asked = case(1000)
    x = torch.tensor(asked.x, requires_grad=True)
    y = torch.relu(x * x)
    (gradient,) = torch.autograd.grad(y, x, torch.tensor(asked.grad_tensors))
    assert asked.holds({"y": y.detach().numpy(), "gradient": gradient.numpy()})


@pytest.mark.parametrize("name", ["y", "gradient"])
def test_an_answer_that_is_off_in_its_last_bit_is_wrong(name):
    asked = case(5)
    right = {"y": asked.y, "gradient": asked.gradient}
    off = right[name].copy()
    off[3] = np.nextafter(off[3], np.inf)
    assert asked.holds(right)
    assert not asked.holds({**right, name: off})


def test_an_answer_without_a_gradient_is_wrong():
    asked = case(5)
    assert not asked.holds({"y": asked.y})


def test_an_echo_of_other_bytes_is_wrong():
    exchange = forms.echo_json(case(3))
    assert exchange.is_right(exchange.body)
    assert not exchange.is_right(exchange.body[:-1])


def test_turns_alternate_and_whoever_fails_is_left_out_with_the_reason():
    order = []

    def turn(name, failing=False):
        order.append(name)
        if failing and order.count(name) == 2:
            raise Unanswered("it answers 503")
        return {LARGE: float(len(order))}

    results = Results()
    take_turns("large", {"a": lambda: turn("a"), "b": lambda: turn("b", failing=True)}, 2, results)
    assert order == ["a", "b", "a", "b", "a"]
    assert results.skipped == {("large", "b"): "it answers 503"}
    assert results.rows("large") == ["a"]


def test_a_ratio_is_the_median_of_the_ratios_of_rounds():
    results = Results()
    for ours, theirs in [(1.0, 2.0), (10.0, 10.0), (3.0, 12.0)]:
        results.add(LARGE, "ours", ours)
        results.add(LARGE, "theirs", theirs)
    assert results.ratio(LARGE, "ours", "theirs") == 0.5
