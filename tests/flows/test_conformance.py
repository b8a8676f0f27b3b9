"""A fixed slice of PyTorch's own samples of its operators; `make conformance` runs all of them."""

from __future__ import annotations

import warnings

import httpx
import pytest
import torch

from pullback_conformance.report import PAGE, REQUIRED, known_exceptions, page
from pullback_conformance.run import judge_sample
from pullback_conformance.samples import operators, samples_of
from pullback_conformance.service import in_process

OF_EACH = 3
SOCKET_STRIDE = 12

CASES = [
    pytest.param(dtype, index, id=f"{dtype}-{op.name}.{op.variant_test_name}".rstrip("."))
    for dtype in REQUIRED
    for index, op in enumerate(operators(getattr(torch, dtype)))
]


def slice_of(dtype_name, index):
    """The first, the middle and the last sample of an operator."""
    dtype = getattr(torch, dtype_name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own samples call what torch deprecates
        samples = list(samples_of(operators(dtype)[index], dtype))
    return samples[:: max(1, (len(samples) - 1) // (OF_EACH - 1))][:OF_EACH]


def wrong(samples, send):
    """The verdicts that are not right and not known to be so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        verdicts = [verdict for sample in samples for verdict in judge_sample(sample, send)]
    known = known_exceptions()
    return [v for v in verdicts if not v.is_right and (v.dtype, v.sample) not in known]


@pytest.mark.parametrize(("dtype", "index"), CASES)
def test_outputs_and_gradients_are_those_of_torch_autograd(dtype, index):
    assert wrong(slice_of(dtype, index), in_process()) == []


def test_they_are_over_a_real_socket_too(real_url):
    def send(operation: str, body: bytes) -> tuple[int, bytes]:
        response = client.post(f"/v1/{operation}", content=body, headers={"content-type": "application/json"})
        return response.status_code, response.content

    count = len(operators(torch.float64))
    samples = [sample for index in range(0, count, SOCKET_STRIDE) for sample in slice_of("float64", index)[-1:]]
    with httpx.Client(base_url=real_url, timeout=60) as client:
        assert wrong(samples, send) == []
    assert len(samples) > 30


@pytest.mark.parametrize("dtype", REQUIRED)
def test_the_required_share_of_samples_is_right(dtype):
    exceptions = sum(of == dtype for of, _ in known_exceptions())
    total = samples_counted(dtype)
    assert (total - exceptions) / total >= REQUIRED[dtype]


def samples_counted(dtype):
    rows = [line.split("|") for line in PAGE.read_text().splitlines() if line.startswith(f"| {dtype} |")]
    return int(rows[0][2].replace(",", ""))


def test_the_page_says_what_the_last_whole_run_found():
    assert PAGE.read_text() == page()
