"""All samples of one operator, each judged in every mode that is asked for."""

from __future__ import annotations

import warnings

import torch

from pullback.tracing import TracingError
from pullback_conformance.judge import Verdict, judge_reverse, make_case
from pullback_conformance.modes import judge_modes
from pullback_conformance.samples import Sample, operators, samples_of
from pullback_conformance.service import Send, in_process

MODE_SAMPLES = 6
"""How many samples of an operator are tried in the other modes, evenly from all it has."""


def judge_operator(dtype_name: str, index: int, names: frozenset[str], with_modes: bool) -> list[Verdict]:
    """The verdicts on all samples of one operator in one dtype."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    dtype = getattr(torch, dtype_name)
    samples = list(samples_of(operators(dtype, names)[index], dtype))
    step = max(1, len(samples) // MODE_SAMPLES)
    return [
        verdict
        for number, sample in enumerate(samples)
        for verdict in judge_sample(sample, in_process(), with_modes=with_modes and number % step == 0)
    ]


def judge_sample(sample: Sample, send: Send, *, with_modes: bool = False) -> list[Verdict]:
    """The verdict on reverse mode and, if asked, on the others."""
    try:
        case = make_case(sample)
    except TracingError as error:
        dtype = str(sample.dtype).removeprefix("torch.")
        return [Verdict(str(sample), dtype, "reverse", "cannot be a graph", str(error), ())]
    verdicts = [judge_reverse(case, send)]
    if with_modes and verdicts[0].is_right:
        verdicts += judge_modes(case, send)
    return verdicts
