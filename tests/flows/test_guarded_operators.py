"""Every guarded and isolated operator: a good call has torch's numbers, a bad one is refused before it does harm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.flows.against_torch import (
    Draw,
    Row,
    assert_gradients_of_torch,
    assert_same_bits,
    assert_values_of_torch,
    nodes,
    row,
    send,
)
from torch import Tensor

from pullback_schemas import Problem
from pullback_service.program.classification import TABLE
from pullback_service.program.probing import can_be_differentiated

aten = torch.ops.aten
_draw = Draw(torch.Generator().manual_seed(20_240_229))
real, positive, regular, within = _draw.real, _draw.positive, _draw.regular, _draw.within
F64 = torch.float64
HUGE = 10**12
NAN = float("nan")


def whole(*values: int, dtype: torch.dtype = torch.int64) -> Tensor:
    return torch.tensor(values, dtype=dtype)


def flags(*values: bool) -> Tensor:
    return torch.tensor(values)


def node(overload: str, *args: Any, **kwargs: Any) -> tuple[str, str, list[Any], dict[str, Any]]:
    """A node y that names its overload, so that no other can stand in for it."""
    return "y", f"aten.{overload}", list(args), kwargs


def good(
    call: tuple[str, str, list[Any], dict[str, Any]],
    function: Callable[..., Any],
    count: int = 0,
    wrt: tuple[str, ...] | None = None,
    seed: int | None = None,
    **inputs: Tensor,
) -> Row:
    """A graph of one node, all of its `count` values outputs, and the function that it must be."""
    outputs = {"outputs": {f"y{i}": f"$y.{i}" for i in range(count)}} if count else {}
    return row(nodes(call, **outputs), function, wrt, {} if seed is None else {"seed": seed}, **inputs)


# Good calls

CHANNELS = {"x": real(4, 3, 2), "w": real(3), "b": real(3), "m": real(3), "v": positive(3)}
NORM = ("$x", "$w", "$b", "$m", "$v")
WEIGHTED = ("x", "w", "b")

NORMALISATIONS = [
    *(
        good(
            node("batch_norm.default", *NORM, training, 0.2, 1e-3, False),
            lambda x, w, b, m, v, training=training: F.batch_norm(x, m, v, w, b, training, 0.2, 1e-3),
            wrt=WEIGHTED,
            **CHANNELS,
        )
        for training in (True, False)
    ),
    good(
        node("batch_norm.default", "$x", None, None, None, None, True, 0.1, 1e-5, False),
        lambda x: F.batch_norm(x, None, None, training=True),
        x=real(4, 3),
    ),
    *(
        good(
            node("instance_norm.default", *NORM, by_input, 0.2, 1e-3, False),
            lambda x, w, b, m, v, by_input=by_input: F.instance_norm(x, m, v, w, b, by_input, 0.2, 1e-3),
            wrt=WEIGHTED,
            **CHANNELS,
        )
        for by_input in (True, False)
    ),
    *(
        good(
            node("native_batch_norm.default", *NORM, training, 0.2, 1e-3),
            lambda *given, training=training: torch.native_batch_norm(*given, training, 0.2, 1e-3),
            3,
            wrt=WEIGHTED,
            **CHANNELS,
        )
        for training in (True, False)
    ),
    good(
        node("_batch_norm_with_update_functional.default", *NORM, 0.2, 1e-3),
        lambda *given: aten._batch_norm_with_update_functional.default(*given, 0.2, 1e-3),
        6,
        wrt=WEIGHTED,
        **CHANNELS,
    ),
    *(
        good(
            node("_native_batch_norm_legit_functional.default", *NORM, training, 0.2, 1e-3),
            lambda *given, training=training: aten._native_batch_norm_legit_functional.default(
                *given, training, 0.2, 1e-3
            ),
            5,
            wrt=WEIGHTED,
            **CHANNELS,
        )
        for training in (True, False)
    ),
    good(
        node("_native_batch_norm_legit_no_training.default", *NORM, 0.2, 1e-3),
        lambda *given: aten._native_batch_norm_legit_no_training.default(*given, 0.2, 1e-3),
        3,
        wrt=WEIGHTED,
        **CHANNELS,
    ),
    good(
        node("_native_batch_norm_legit.no_stats", "$x", "$w", "$b", True, 0.2, 1e-3),
        lambda x, w, b: aten._native_batch_norm_legit.no_stats(x, w, b, True, 0.2, 1e-3),
        3,
        x=real(4, 3, 2),
        w=real(3),
        b=real(3),
    ),
]

FACTORIES = [
    good(node("arange.default", 5), lambda: torch.arange(5)),
    good(node("arange.start", 1, 2.5, dtype="float64"), lambda: torch.arange(1, 2.5, dtype=F64)),
    good(node("arange.start_step", 5, 1, -2), lambda: torch.arange(5, 1, -2)),
    good(node("eye.default", 3), lambda: torch.eye(3)),
    good(node("eye.m", 2, 3, dtype="int64"), lambda: torch.eye(2, 3, dtype=torch.int64)),
    good(node("full.default", [2, 3], 1.5), lambda: torch.full([2, 3], 1.5)),
    good(node("linspace.default", 0, 1, 5), lambda: torch.linspace(0, 1, 5)),
    good(node("logspace.default", 0, 1, 5, 2.0), lambda: torch.logspace(0, 1, 5, 2.0)),
    good(node("ones.default", [2]), lambda: torch.ones(2)),
    good(node("zeros.default", [2], dtype="complex64"), lambda: torch.zeros(2, dtype=torch.complex64)),
    good(node("scalar_tensor.default", 2.5, dtype="float64"), lambda: torch.scalar_tensor(2.5, dtype=F64)),
    good(node("tril_indices.default", 3, 4, -1), lambda: torch.tril_indices(3, 4, -1)),
    good(node("triu_indices.default", 3, 4, 1), lambda: torch.triu_indices(3, 4, 1)),
    good(node("binomial.default", "$n", "$p"), torch.binomial, seed=5, n=positive(3) * 9, p=within(0, 1, 3)),
    good(node("normal.float_float", 1.0, 2.0, [3]), lambda: torch.normal(1.0, 2.0, [3]), seed=5),
    good(node("rand.default", [3]), lambda: torch.rand(3), seed=5),
    good(node("randint.default", 9, [4]), lambda: torch.randint(9, [4]), seed=5),
    good(node("randint.low", -3, 9, [4]), lambda: torch.randint(-3, 9, [4]), seed=5),
    good(node("randn.default", [3], dtype="float64"), lambda: torch.randn(3, dtype=F64), seed=5),
    good(node("randperm.default", 7), lambda: torch.randperm(7), seed=5),
]

BY_DATA = [
    good(node("argwhere.default", "$x"), lambda x: torch.argwhere(x), x=real(2, 3).relu()),
    good(node("nonzero.default", "$x"), lambda x: torch.nonzero(x), x=real(2, 3).relu()),
    good(
        node("masked_select.default", "$x", "$m"),
        lambda x, m: torch.masked_select(x, m),
        x=real(2, 3),
        m=flags(True, False, True),
    ),
    good(node("index.Tensor", "$x", ["$m"]), lambda x, m: x[m], x=real(3, 2), m=flags(True, False, True)),
    good(
        node("narrow.Tensor", "$x", 0, "$start", 2),
        lambda x, start: torch.narrow(x, 0, start, 2),
        x=real(4, 2),
        start=torch.tensor(1),
    ),
    good(
        node("tensor_split.tensor_indices_or_sections", "$x", "$at"),
        lambda x, at: torch.tensor_split(x, at),
        3,
        x=real(5),
        at=whole(1, 3),
    ),
    good(
        node("tensor_split.tensor_indices_or_sections", "$x", "$n", 1),
        lambda x, n: torch.tensor_split(x, n, 1),
        2,
        x=real(2, 5),
        n=torch.tensor(2),
    ),
    good(node("repeat_interleave.Tensor", "$r"), lambda r: torch.repeat_interleave(r), r=whole(2, 0, 3)),
    good(
        node("repeat_interleave.self_Tensor", "$x", "$r", 0),
        lambda x, r: torch.repeat_interleave(x, r, 0),
        x=real(3, 2),
        r=whole(2, 0, 3),
    ),
    good(
        node("istft.default", "$x", 4, window="$w"),
        lambda x, w: torch.istft(x, 4, window=w),
        x=torch.stft(real(16), 4, window=torch.ones(4, dtype=F64), return_complex=True),
        w=positive(4),
    ),
    # LAPACK's default driver, gelsy, does not repeat its own last bits.
    good(
        node("linalg_lstsq.default", "$a", "$b", driver="gels"),
        lambda a, b: torch.linalg.lstsq(a, b, driver="gels"),
        4,
        a=real(5, 3),
        b=real(5, 2),
    ),
    good(
        node("cov.default", "$x", fweights="$f"), lambda x, f: torch.cov(x, fweights=f), x=real(2, 3), f=whole(1, 2, 1)
    ),
    good(node("corrcoef.default", "$x"), lambda x: torch.corrcoef(x), x=real(2, 5)),
]

BOUNDED = [
    good(node("combinations.default", "$x", 3), lambda x: torch.combinations(x, 3), x=real(4)),
    good(node("linalg_matrix_power.default", "$x", -3), lambda x: torch.linalg.matrix_power(x, -3), x=regular(3)),
    good(node("matrix_power.default", "$x", 5), lambda x: torch.matrix_power(x, 5), x=real(3, 3)),
    good(node("mvlgamma.default", "$x", 2), lambda x: torch.mvlgamma(x, 2), x=within(1.5, 3, 3)),
    good(node("special_multigammaln.default", "$x", 2), lambda x: torch.special.multigammaln(x, 2), x=positive(3) + 1),
    good(node("one_hot.default", "$i", 4), lambda i: F.one_hot(i, 4), i=whole(0, 3)),
    good(
        node("smooth_l1_loss.default", "$x", "$t", 2, 0.5),
        lambda x, t: F.smooth_l1_loss(x, t, reduction="sum", beta=0.5),
        x=real(3),
        t=real(3),
    ),
]

GRID = {"x": real(1, 2, 4, 4), "g": within(-1.2, 1.2, 1, 3, 3, 2)}
VOLUME = {"x": real(1, 2, 3, 3, 3), "g": within(-1.2, 1.2, 1, 2, 2, 2, 3)}
POOLED, PLACES = F.max_pool2d(real(1, 2, 4, 4), 2, return_indices=True)
POOLED_3D, PLACES_3D = F.max_pool3d(real(1, 2, 4, 4, 4), 2, return_indices=True)
LU, PIVOTS = torch.linalg.lu_factor(regular(3, 2))
LDL, BLOCKS = torch.linalg.ldl_factor(torch.tensor([[0.0, 5.0, 2.0], [5.0, 0.0, 3.0], [2.0, 3.0, 1.0]]).double())

FOUND_BY_FUZZ = [
    good(node("multi_margin_loss.default", "$x", "$t"), F.multi_margin_loss, x=real(3, 4), t=whole(0, 3, 1)),
    good(
        node("multilabel_margin_loss.default", "$x", "$t"),
        F.multilabel_margin_loss,
        x=real(2, 3),
        t=torch.tensor([[0, 2, -1], [1, -1, 0]]),
    ),
    good(node("_neg_view.default", "$x"), lambda x: -x, x=real(3)),
    good(node("random.from", "$x", 2, 9), lambda x: x.clone().random_(2, 9), seed=5, x=real(3)),
    good(
        node("scaled_dot_product_attention.default", "$q", "$k", "$v"),
        F.scaled_dot_product_attention,
        q=real(1, 2, 3, 4),
        k=real(1, 2, 5, 4),
        v=real(1, 2, 5, 4),
    ),
    good(
        node("reflection_pad3d.default", "$x", [1, 1, 1, 1, 1, 1]),
        lambda x: F.pad(x, [1] * 6, "reflect"),
        x=real(1, 2, 3, 3, 3),
    ),
    good(
        node("pad.default", "$x", [1, 1, 1, 1, 1, 1], mode="reflect"),
        lambda x: F.pad(x, [1] * 6, "reflect"),
        x=real(1, 2, 3, 3, 3),
    ),
]

FINITE = [
    good(node("linalg_eigvals.default", "$a"), lambda a: torch.linalg.eigvals(a), a=real(3, 3)),
    good(node("linalg_eigvalsh.default", "$a", "U"), lambda a: torch.linalg.eigvalsh(a, "U"), a=real(3, 3)),
    *(
        good(
            node("grid_sampler.default", "$x", "$g", i, j, True),
            lambda x, g, i=i, j=j: F.grid_sample(
                x, g, ("bilinear", "nearest", "bicubic")[i], ("zeros", "border", "reflection")[j], True
            ),
            **GRID,
        )
        for i in range(3)
        for j in range(3)
    ),
    good(
        node("grid_sampler_2d.default", "$x", "$g", 0, 2, False),
        lambda x, g: aten.grid_sampler_2d(x, g, 0, 2, False),
        **GRID,
    ),
    good(
        node("grid_sampler_3d.default", "$x", "$g", 0, 2, False),
        lambda x, g: F.grid_sample(x, g, "bilinear", "reflection", False),
        **VOLUME,
    ),
    good(node("max_unpool2d.default", "$x", "$i", [4, 4]), lambda x, i: F.max_unpool2d(x, i, 2), x=POOLED, i=PLACES),
    good(
        node("max_unpool3d.default", "$x", "$i", [4, 4, 4], [2, 2, 2], [0, 0, 0]),
        lambda x, i: F.max_unpool3d(x, i, 2),
        x=POOLED_3D,
        i=PLACES_3D,
    ),
    good(
        node("max_pool2d_with_indices_backward.default", "$g", "$x", [2], [2], [0], [1], False, "$i"),
        lambda g, x, i: aten.max_pool2d_with_indices_backward(g, x, [2], [2], [0], [1], False, i),
        wrt=("g",),
        g=POOLED,
        x=real(1, 2, 4, 4),
        i=PLACES,
    ),
    good(node("lu_unpack.default", "$lu", "$p"), lambda lu, p: torch.lu_unpack(lu, p), 3, lu=LU, p=PIVOTS),
    good(
        node("linalg_ldl_solve.default", "$ld", "$p", "$b"),
        lambda ld, p, b: torch.linalg.ldl_solve(ld, p, b),
        ld=LDL,
        p=BLOCKS,
        b=real(3, 2),
    ),
    good(node("pdist.default", "$x", 3.0), lambda x: F.pdist(x, 3.0), x=real(4, 2)),
    *(
        good(
            node(f"{name}.default", "$x", [2, 2], [1, 2], 1),
            lambda x, function=function: function(x, (2, 2), (1, 2), 1),
            x=real(3, 4),
        )
        for name, function in {"as_strided": torch.as_strided, "as_strided_copy": torch.as_strided_copy}.items()
    ),
    good(node("det.default", "$x"), torch.det, x=real(3, 3)),
    good(node("linalg_det.default", "$x"), torch.linalg.det, x=real(2, 3, 3)),
    good(node("polar.default", "$r", "$a"), torch.polar, r=real(3).abs(), a=real(3)),
    good(
        node("as_strided_scatter.default", "$x", "$s", [2, 2], [1, 2], 1),
        lambda x, s: torch.as_strided_scatter(x, s, (2, 2), (1, 2), 1),
        wrt=("s",),
        x=real(3, 4),
        s=real(2, 2),
    ),
]

SPEECH = {"p": torch.log_softmax(real(5, 2, 4), -1), "t": whole(1, 3, 2, 2, 1).reshape(1, 5).squeeze(0)}
BAGS = {"w": real(6, 2), "i": whole(0, 2, 5, 5, 1), "o": whole(0, 2, 2)}
WEIGHTS = ["$a", "$b", "$c", "$d"]
LAYER = (True, 1, 0.0, False, False)
ONE_HOT_ROW = real(3, 4).softmax(1)


def layer(gates: int) -> dict[str, Tensor]:
    """The weights of one layer from 3 features to 2."""
    return {"a": real(2 * gates, 3), "b": real(2 * gates, 2), "c": real(2 * gates), "d": real(2 * gates)}


def recurrent(name: str, gates: int) -> list[Row]:
    function = getattr(torch, name)
    return [
        good(
            node(f"{name}.input", "$x", "$h", WEIGHTS, *LAYER, True),
            lambda x, h, *weights: function(x, h, weights, *LAYER, True),
            2,
            x=real(2, 4, 3),
            h=real(1, 2, 2),
            **layer(gates),
        ),
        good(
            node(f"{name}.data", "$x", "$s", "$h", WEIGHTS, *LAYER),
            lambda x, s, h, *weights: function(x, s, h, weights, *LAYER),
            2,
            x=real(5, 3),
            s=whole(2, 2, 1),
            h=real(1, 2, 2),
            **layer(gates),
        ),
    ]


RECURRENT = [
    good(
        node("lstm.input", "$x", ["$h", "$k"], WEIGHTS, *LAYER, False),
        lambda x, h, k, *weights: torch.lstm(x, (h, k), weights, *LAYER, False),
        3,
        x=real(4, 2, 3),
        h=real(1, 2, 2),
        k=real(1, 2, 2),
        **layer(4),
    ),
    good(
        node("lstm.input", "$x", ["$h", "$k"], [*WEIGHTS, "$e"], *LAYER, False),
        lambda x, h, k, a, b, c, d, e: torch.lstm(x, (h, k), (a, b, c, d, e), *LAYER, False),
        3,
        x=real(4, 1, 3),
        h=real(1, 1, 1),
        k=real(1, 1, 2),
        **{**layer(4), "b": real(8, 1)},
        e=real(1, 2),
    ),
    good(
        node("lstm.data", "$x", "$s", ["$h", "$k"], WEIGHTS, *LAYER),
        lambda x, s, h, k, *weights: torch.lstm(x, s, (h, k), weights, *LAYER),
        3,
        x=real(5, 3),
        s=whole(2, 2, 1),
        h=real(1, 2, 2),
        k=real(1, 2, 2),
        **layer(4),
    ),
    *recurrent("gru", 3),
    *recurrent("rnn_tanh", 1),
    *recurrent("rnn_relu", 1),
]

ISOLATED = [
    good(
        node("ctc_loss.IntList", "$p", "$t", [5, 4], [3, 2]),
        lambda p, t: F.ctc_loss(p, t, [5, 4], [3, 2]),
        **SPEECH,
    ),
    good(
        node("ctc_loss.Tensor", "$p", "$t", "$n", "$s", 0, 2, True),
        lambda p, t, n, s: F.ctc_loss(p, t, n, s, reduction="sum", zero_infinity=True),
        **SPEECH,
        n=whole(5, 4),
        s=whole(3, 2),
    ),
    good(
        node("embedding_bag.default", "$w", "$i", "$o"),
        lambda w, i, o: torch.embedding_bag(w, i, o),
        4,
        **BAGS,
    ),
    *(
        good(
            node("embedding_bag.padding_idx", "$w", "$i", "$o", False, mode, False, None, False, 2),
            lambda w, i, o, mode=mode: aten.embedding_bag.padding_idx(w, i, o, False, mode, False, None, False, 2),
            4,
            **BAGS,
        )
        for mode in range(3)
    ),
    good(
        node("embedding_bag.padding_idx", "$w", "$i", "$o", False, 0, False, "$s", True, None),
        lambda w, i, o, s: aten.embedding_bag.padding_idx(w, i, o, False, 0, False, s, True, None),
        4,
        **{**BAGS, "o": whole(0, 2, 5)},
        s=real(5),
    ),
    good(
        node("fractional_max_pool2d.default", "$x", [2, 2], [3, 3], "$s"),
        lambda x, s: aten.fractional_max_pool2d(x, [2, 2], [3, 3], s),
        2,
        wrt=("x",),
        x=real(1, 2, 6, 6),
        s=within(0, 1, 1, 2, 2),
    ),
    good(
        node("fractional_max_pool3d.default", "$x", [2, 2, 2], [2, 2, 2], "$s"),
        lambda x, s: aten.fractional_max_pool3d(x, [2, 2, 2], [2, 2, 2], s),
        2,
        wrt=("x",),
        x=real(1, 1, 4, 4, 4),
        s=within(0, 1, 1, 1, 3),
    ),
    good(
        node("_softmax_backward_data.default", "$g", "$y0", 1, "float64"),
        lambda g, y0: aten._softmax_backward_data(g, y0, 1, F64),
        g=real(3, 4),
        y0=ONE_HOT_ROW,
    ),
    good(
        node("_unsafe_masked_index.default", "$x", "$m", ["$i"], 0.5),
        lambda x, m, i: aten._unsafe_masked_index(x, m, [i], 0.5),
        x=real(3),
        m=flags(True, False),
        i=whole(2, 0),
    ),
    good(
        node("_unsafe_masked_index_put_accumulate.default", "$x", "$m", ["$i"], "$v"),
        lambda x, m, i, v: aten._unsafe_masked_index_put_accumulate(x, m, [i], v),
        x=real(3),
        m=flags(True, False),
        i=whole(2, 0),
        v=real(2),
    ),
    good(
        node("native_dropout_backward.default", "$g", "$m", 2.0),
        lambda g, m: aten.native_dropout_backward(g, m, 2.0),
        g=real(3),
        m=flags(True, False, True),
    ),
    *(
        good(
            node("segment_reduce.default", "$x", word, lengths="$n"),
            lambda x, n, word=word: torch.segment_reduce(x, word, lengths=n),
            x=real(5, 2),
            n=whole(2, 0, 3),
        )
        for word in ("sum", "mean", "max", "min", "prod")
    ),
    good(
        node("segment_reduce.default", "$x", "sum", lengths="$n", unsafe=True),
        lambda x, n: torch.segment_reduce(x, "sum", lengths=n, unsafe=True),
        x=real(5, 2),
        n=whole(2, 0, 1),
    ),
    good(
        node("segment_reduce.default", "$x", "mean", offsets="$o", axis=1),
        lambda x, o: torch.segment_reduce(x, "mean", offsets=o, axis=1),
        x=real(2, 5),
        o=whole(0, 2, 5, 0, 4, 5).reshape(2, 3),
    ),
]

GOOD = [*NORMALISATIONS, *FACTORIES, *BY_DATA, *BOUNDED, *FOUND_BY_FUZZ, *FINITE, *RECURRENT, *ISOLATED]


def name_of(good_row: Row) -> str:
    assert isinstance(good_row.graph, dict)
    return str(good_row.graph["nodes"][-1]["op"])


@pytest.mark.parametrize("row", GOOD, ids=name_of)
def test_a_good_call_of_a_guarded_operator_has_torchs_outputs_bit_for_bit(answer, row):
    assert_values_of_torch(answer, row)


MOVING = [r for r in GOOD if any(can_be_differentiated(y) for y in r.differentiable()[0] if y.requires_grad)]


@pytest.mark.parametrize("row", MOVING, ids=name_of)
def test_a_good_call_of_a_guarded_operator_has_torchs_gradients_bit_for_bit(answer, row):
    assert_gradients_of_torch(answer, row)


# Bad calls


@dataclass(frozen=True, eq=False)
class Bad:
    """A call that would do harm or cannot be answered, and what its author is told."""

    graph: Any
    code: str
    says: tuple[str, ...]
    inputs: dict[str, Tensor]
    overload: str


def bad(call: tuple[str, str, list[Any], dict[str, Any]], code: str, *says: str, **inputs: Tensor) -> Bad:
    output = "$y.0" if gives_several(call[1]) else "$y"
    return Bad(nodes(call, outputs={"out": output}), code, says, inputs, call[1])


def gives_several(overload: str) -> bool:
    _, packet, name = overload.split(".")
    returns = getattr(getattr(aten, packet), name)._schema.returns
    return len(returns) > 1 or "List" in str(returns[0].type)


def too_large(overload: str, *args: Any) -> Bad:
    return bad(node(overload, *args), "limit_exceeded", "too large", "67,108,864")


def stretched(overload: str, sizes: list[int], *args: Any, **inputs: Tensor) -> Bad:
    """A view of one element as a large tensor; what the operator makes of it would take memory."""
    graph = nodes(("x", "expand", ["$one", sizes], {}), node(overload, *args))
    return Bad(graph, "limit_exceeded", ("67,108,864",), {"one": real(1), **inputs}, f"aten.{overload}")


def statistics(overload: str, *rest: Any, **wrong: Tensor) -> Bad:
    name = next(iter(wrong))
    given = {**CHANNELS, **wrong}
    return bad(node(overload, *NORM, *rest), "incompatible_arguments", name_in_torch(name), "channel", **given)


def name_in_torch(name: str) -> str:
    return {"w": "weight", "b": "bias", "m": "running_mean", "v": "running_var"}[name]


BAD = [
    *(
        bad(node(f"{loss}.default", "$x", "$t"), "incompatible_arguments", x=torch.zeros(0, 3, dtype=F64), t=targets)
        for loss, targets in (
            ("multi_margin_loss", torch.zeros(0, dtype=torch.int64)),
            ("multilabel_margin_loss", torch.zeros(0, 3, dtype=torch.int64)),
        )
    ),
    bad(node("_neg_view.default", "$x"), "incompatible_arguments", "negative", x=flags(True, False)),
    bad(node("random.from", "$x", 2**63 - 1, None), "bad_argument", "from", x=real(3)),
    bad(
        node("scaled_dot_product_attention.default", "$q", "$k", "$v"),
        "incompatible_arguments",
        "one value for each key",
        q=real(1, 2, 3, 4),
        k=real(1, 2, 5, 4),
        v=real(1, 2, 6, 4),
    ),
    *(
        bad(
            node(overload, "$x", [0, 0, 0, 0, -1, -2], **mode),
            "incompatible_arguments",
            "left",
            x=real(1, 2, 3, 3, 3),
        )
        for overload, mode in (("reflection_pad3d.default", {}), ("pad.default", {"mode": "reflect"}))
    ),
    statistics("batch_norm.default", True, 0.1, 1e-5, False, w=real(7)),
    statistics("batch_norm.default", False, 0.1, 1e-5, False, v=real(1)),
    statistics("instance_norm.default", True, 0.1, 1e-5, False, b=real(2)),
    statistics("native_batch_norm.default", True, 0.1, 1e-5, m=real(1)),
    statistics("_batch_norm_with_update_functional.default", 0.1, 1e-5, m=real(1)),
    statistics("_native_batch_norm_legit_functional.default", True, 0.1, 1e-5, v=real(2)),
    statistics("_native_batch_norm_legit_no_training.default", 0.1, 1e-5, w=real(1)),
    *(
        bad(
            node(overload, "$x", None, None, None, None, False, *rest),
            "incompatible_arguments",
            "running_mean",
            "batch's statistics",
            x=real(4, 3),
        )
        for overload, *rest in (
            ("batch_norm.default", 0.1, 1e-5, False),
            ("instance_norm.default", 0.1, 1e-5, False),
            ("native_batch_norm.default", 0.1, 1e-5),
        )
    ),
    bad(
        node("_native_batch_norm_legit.no_stats", "$x", None, None, False, 0.1, 1e-5),
        "incompatible_arguments",
        "running_mean",
        x=real(4, 3),
    ),
    bad(
        node("_native_batch_norm_legit.no_stats", "$x", "$w", None, True, 0.1, 1e-5),
        "incompatible_arguments",
        "weight",
        x=real(4, 3),
        w=real(1),
    ),
    too_large("arange.default", HUGE),
    too_large("arange.start", -HUGE, HUGE),
    too_large("arange.start_step", 0, 1, 1e-12),
    too_large("eye.default", 10**6),
    too_large("eye.m", 10**6, 10**6),
    too_large("full.default", [HUGE], 0),
    too_large("linspace.default", 0, 1, HUGE),
    too_large("logspace.default", 0, 1, HUGE),
    too_large("ones.default", [10**6, 10**6]),
    too_large("zeros.default", [2**40]),
    too_large("tril_indices.default", 10**6, 10**6),
    too_large("triu_indices.default", 10**6, 10**6),
    too_large("normal.float_float", 0.0, 1.0, [HUGE]),
    too_large("rand.default", [HUGE]),
    too_large("randint.default", 9, [HUGE]),
    too_large("randint.low", 0, 9, [HUGE]),
    too_large("randn.default", [HUGE]),
    too_large("randperm.default", HUGE),
    bad(node("scalar_tensor.default", "$x"), "bad_argument", "Scalar", x=real(1)),
    stretched("argwhere.default", [1000, 1000, 30], "$x"),
    stretched("nonzero.default", [1000, 1000, 30], "$x"),
    stretched("masked_select.default", [10**5, 1], "$x", "$m", m=torch.ones(1, 10**3, dtype=torch.bool)),
    stretched("cov.default", [10**5, 1], "$x"),
    stretched("corrcoef.default", [10**5, 1], "$x"),
    Bad(
        nodes(("x", "expand", ["$one", [10**4]], {}), node("combinations.default", "$x", 3)),
        "memory_limit",
        ("8,589,934,592",),
        {"one": real(1)},
        "aten.combinations.default",
    ),
    bad(node("index.Tensor", "$x", ["$m"]), "op_failed", "mask", x=real(3), m=flags(True, False)),
    bad(node("narrow.Tensor", "$x", 0, "$s", 2), "op_failed", "start", x=real(3), s=torch.tensor(7)),
    bad(
        node("tensor_split.tensor_indices_or_sections", "$x", "$n"),
        "limit_exceeded",
        "pieces",
        "4096",
        x=real(3),
        n=torch.tensor(10**6),
    ),
    bad(node("repeat_interleave.Tensor", "$r"), "limit_exceeded", "67,108,864", r=whole(HUGE, 2)),
    bad(node("repeat_interleave.Tensor", "$r"), "op_failed", "negative", r=whole(2, -1)),
    bad(
        node("repeat_interleave.self_Tensor", "$x", "$r", 0),
        "limit_exceeded",
        "67,108,864",
        x=real(2, 2),
        r=whole(HUGE, 2),
    ),
    bad(
        node("istft.default", "$x", 4, length=HUGE),
        "limit_exceeded",
        "67,108,864",
        x=torch.zeros(3, 5, dtype=torch.complex128),
    ),
    bad(node("linalg_lstsq.default", "$a", "$b"), "op_failed", "f64[5,3]", a=real(5, 3), b=real(4, 2)),
    bad(node("linalg_matrix_power.default", "$x", -(2**63)), "limit_exceeded", "1024", x=regular(2)),
    bad(node("matrix_power.default", "$x", 2**40), "limit_exceeded", "1024", x=regular(2)),
    bad(node("mvlgamma.default", "$x", 10**9), "limit_exceeded", "1024", x=positive(2)),
    bad(node("special_multigammaln.default", "$x", 10**9), "limit_exceeded", "1024", x=positive(2)),
    bad(node("combinations.default", "$x", 10**6), "limit_exceeded", "64", x=real(2)),
    bad(node("one_hot.default", "$i"), "refused_op", "num_classes", i=whole(1)),
    bad(node("one_hot.default", "$i", 2), "op_failed", "num_classes", i=whole(5)),
    bad(node("smooth_l1_loss.default", "$x", "$t", 1, 0.0), "refused_op", "l1_loss", x=real(2), t=real(2)),
    *(
        bad(node(overload, "$x"), "op_failed", "NaN or infinity", x=torch.tensor([[1.0, odd], [0.0, 1.0]], dtype=F64))
        for overload in ("linalg_eigvals.default", "linalg_eigvalsh.default")
        for odd in (NAN, float("inf"), -float("inf"))
    ),
    bad(
        node("binomial.default", "$n", "$p"),
        "op_failed",
        "count",
        n=torch.tensor([3.0, NAN], dtype=F64),
        p=within(0, 1, 2),
    ),
    *(
        bad(
            node(overload, "$x", "$g", 0, 2, False),
            "op_failed",
            "grid",
            "NaN or infinity",
            x=given["x"],
            g=given["g"] * float("inf"),
        )
        for overload, given in {
            "grid_sampler.default": GRID,
            "grid_sampler_2d.default": GRID,
            "grid_sampler_3d.default": VOLUME,
        }.items()
    ),
    bad(node("max_unpool2d.default", "$x", "$i", [2, 2]), "op_failed", "0 to 3", x=POOLED, i=PLACES),
    bad(node("max_unpool2d.default", "$x", "$i", [4, 4]), "op_failed", "0 to 15", x=POOLED, i=PLACES - 99),
    bad(
        node("max_unpool3d.default", "$x", "$i", [4, 4, 4], [2, 2, 2], [0, 0, 0]),
        "op_failed",
        "0 to 63",
        x=POOLED_3D,
        i=PLACES_3D + 10**6,
    ),
    bad(
        node("max_pool2d_with_indices_backward.default", "$g", "$x", [2], [2], [0], [1], False, "$i"),
        "op_failed",
        "0 to 15",
        g=POOLED,
        x=real(1, 2, 4, 4),
        i=PLACES + 10**6,
    ),
    bad(node("lu_unpack.default", "$lu", "$p"), "incompatible_arguments", "int32", lu=LU, p=PIVOTS.long()),
    bad(node("lu_unpack.default", "$lu", "$p"), "incompatible_arguments", "[2, 3]", lu=LU, p=PIVOTS[:, :0]),
    bad(node("lu_unpack.default", "$lu", "$p"), "op_failed", "1 to 3", lu=LU, p=PIVOTS + 10**6),
    *(
        bad(
            node("linalg_ldl_solve.default", "$ld", "$p", "$b"),
            "op_failed",
            "come in pairs",
            ld=torch.eye(3, dtype=torch.float64),
            p=torch.tensor(pivots, dtype=torch.int32),
            b=real(3, 2),
        )
        for pivots in ([1, 2, -3], [-1, 2, 3], [-1, -2, -3])
    ),
    bad(node("pdist.default", "$x"), "incompatible_arguments", "no row", x=real(0, 2)),
    *(
        bad(node(f"{name}.default", "$x", [2], [10**9]), "incompatible_arguments", "past the tensor", x=real(3))
        for name in ("as_strided", "as_strided_copy")
    ),
    bad(node("as_strided.default", "$x", [2], [1], -7), "incompatible_arguments", "past the tensor", x=real(3)),
    bad(node("as_strided.default", "$x", [2], [-1], 1), "incompatible_arguments", "past the tensor", x=real(3)),
    bad(
        node("as_strided_scatter.default", "$x", "$s", [2], [1], 2),
        "incompatible_arguments",
        "past the tensor",
        x=real(3),
        s=real(2),
    ),
    bad(
        node("ctc_loss.IntList", "$p", "$t", [5, 4], [3, 2]),
        "op_failed",
        "targets",
        "0 to 3",
        **SPEECH | {"t": whole(*[9] * 5)},
    ),
    bad(node("ctc_loss.IntList", "$p", "$t", [5, 99], [3, 2]), "op_failed", "input_lengths", "0 to 5", **SPEECH),
    bad(node("ctc_loss.IntList", "$p", "$t", [5, 4], [3, 99]), "op_failed", "targets", "102", **SPEECH),
    bad(node("ctc_loss.IntList", "$p", "$t", [5], [5]), "op_failed", "length", **SPEECH),
    bad(node("ctc_loss.IntList", "$p", "$t", [5, 4], [3, 2], 7), "op_failed", "blank", **SPEECH),
    bad(
        node("ctc_loss.Tensor", "$p", "$t", "$n", "$s"),
        "op_failed",
        "target_lengths",
        **SPEECH,
        n=whole(5, 4),
        s=whole(6, -1),
    ),
    *(
        bad(node("embedding_bag.default", "$w", "$i", "$o"), "op_failed", *says, **BAGS | wrong)
        for says, wrong in (
            (("indices", "0 to 5"), {"i": whole(0, 2, 5, 5, 6)}),
            (("indices", "0 to 5"), {"i": whole(0, 2, 5, 5, -1)}),
            (("offsets", "0 to 5"), {"o": whole(0, 10**6)}),
            (("offsets", "fall"), {"o": whole(0, 3, 1)}),
            (("offsets", "fall"), {"o": whole(1, 3)}),
            (("offsets", "fall"), {"o": torch.tensor([], dtype=torch.int64)}),
        )
    ),
    bad(
        node("embedding_bag.padding_idx", "$w", "$i", "$o", False, 0, False, None, False, 2),
        "op_failed",
        "0 to 5",
        **BAGS | {"i": whole(*[10**9] * 5)},
    ),
    bad(
        node("fractional_max_pool2d.default", "$x", [2, 2], [3, 3], "$s"),
        "op_failed",
        "[0, 1)",
        x=real(1, 2, 6, 6),
        s=torch.full((1, 2, 2), 1e9, dtype=F64),
    ),
    bad(
        node("fractional_max_pool3d.default", "$x", [2, 2, 2], [2, 2, 2], "$s"),
        "op_failed",
        "[0, 1)",
        x=real(1, 1, 4, 4, 4),
        s=torch.full((1, 1, 3), NAN, dtype=F64),
    ),
    bad(
        node("lstm.input", "$x", ["$h"], WEIGHTS, *LAYER, False),
        "incompatible_arguments",
        "two hidden states",
        x=real(4, 2, 3),
        h=real(1, 2, 2),
        **layer(4),
    ),
    *(
        bad(
            node(f"{name}.input", "$x", state, WEIGHTS, *LAYER, False),
            "incompatible_arguments",
            "gates",
            f"[{gates} * hidden, ...]",
            x=real(4, 2, 3),
            h=real(1, 2, 2),
            **layer(4) | {"a": real(7, 3)},
        )
        for name, gates, state in (("lstm", 4, ["$h", "$h"]), ("gru", 3, "$h"))
    ),
    *(
        bad(
            node(f"{name}.input", "$x", "$h", WEIGHTS[:3], *LAYER, False),
            "incompatible_arguments",
            "number of RNN parameters",
            x=real(4, 2, 3),
            h=real(1, 2, 2),
            **{key: weight for key, weight in layer(1).items() if key != "d"},
        )
        for name in ("rnn_tanh", "rnn_relu")
    ),
    *(
        bad(
            node(f"{name}.data", "$x", "$s", state, WEIGHTS, *LAYER),
            "op_failed",
            says,
            x=real(5, 3),
            s=sizes,
            h=real(1, 2, 2),
            **layer(gates),
        )
        for name, gates, state in (
            ("lstm", 4, ["$h", "$h"]),
            ("gru", 3, "$h"),
            ("rnn_tanh", 1, "$h"),
            ("rnn_relu", 1, "$h"),
        )
        for says, sizes in (
            ("add up to the rows", whole(10**6, 1)),
            ("never rise", whole(1, 2, 2)),
            ("positive", torch.tensor([], dtype=torch.int64)),
        )
    ),
    bad(
        node("_softmax_backward_data.default", "$x", "$s", 0, "float64"),
        "incompatible_arguments",
        "f64[3]",
        x=real(3),
        s=real(5),
    ),
    bad(
        node("_unsafe_masked_index.default", "$x", "$m", ["$i"], 0),
        "incompatible_arguments",
        "bool[5]",
        x=real(3),
        m=flags(*[True] * 5),
        i=whole(0, 1),
    ),
    bad(
        node("_unsafe_masked_index_put_accumulate.default", "$x", "$m", ["$i"], "$v"),
        "incompatible_arguments",
        "bool[5]",
        x=real(3),
        m=flags(*[True] * 5),
        i=whole(0, 1),
        v=real(2),
    ),
    bad(
        node("native_dropout_backward.default", "$g", "$m", 2.0),
        "incompatible_arguments",
        "bool[2]",
        g=real(3),
        m=flags(True, False),
    ),
    *(
        bad(node("segment_reduce.default", "$x", "sum", unsafe=True, **{name: "$l"}), code, name, x=real(4), l=given)
        for name, code, given in (
            ("lengths", "op_failed", whole(1, 10**7)),
            ("lengths", "op_failed", whole(5, -1)),
            ("lengths", "op_failed", whole(2**63 - 1, 2**63 - 1, 6)),
            ("lengths", "incompatible_arguments", real(2)),
            ("offsets", "op_failed", whole(0, 10**7)),
            ("offsets", "op_failed", whole(-(10**7), 4)),
            ("offsets", "op_failed", whole(0, 3, 1, 4)),
        )
    ),
]


@pytest.mark.parametrize("row", BAD, ids=lambda row: row.overload)
def test_a_bad_call_of_a_guarded_operator_is_refused_with_its_node_and_the_reason(post, row):
    response = post("forward", graph=row.graph, inputs=send(row.inputs))
    assert response.status_code == 422, response.text[:500]
    problem = Problem.model_validate_json(response.content)
    assert (problem.code, problem.node) == (row.code, "y"), response.text
    told = " ".join(str(part) for part in (problem.detail, problem.hint, problem.expected, problem.got))
    for words in row.says:
        assert words in told


@pytest.mark.parametrize(
    "overload",
    [line.split("\t")[0] for line in TABLE.read_text().splitlines() if line.split("\t")[1] in ("guarded", "isolated")],
)
def test_every_guarded_operator_has_a_good_call_and_a_bad_one_here(overload):
    assert overload in {name_of(row) for row in GOOD}
    assert overload in {row.overload for row in BAD}


# Statistics that a kernel would write to

UPDATING = {
    "batch_norm": node("batch_norm.default", "$x", None, None, "$m", "$v", True, 0.5, 1e-5, False),
    "instance_norm": node("instance_norm.default", "$x", None, None, "$m", "$v", True, 0.5, 1e-5, False),
    "native_batch_norm": node("native_batch_norm.default", "$x", None, None, "$m", "$v", True, 0.5, 1e-5),
}


@pytest.mark.parametrize("call", UPDATING.values(), ids=UPDATING)
def test_training_leaves_the_running_statistics_of_the_graph_as_they_were(answer, call):
    """Torch's kernels write to them, which a graph of values must not see; nor may who sends it again."""
    several = gives_several(call[1])
    graph = {
        "constants": {"m": [0.5, -1.0], "v": [2.0, 3.0]},
        **nodes(
            call,
            ("after", "mul", ["$m", "$v"], {}),
            outputs={"y": "$y.0" if several else "$y", "m": "$m", "v": "$v", "after": "$after"},
        ),
    }
    x = send({"x": real(3, 2, 4)})
    first, second = (answer("forward", graph=graph, inputs=x)["outputs"] for _ in range(2))
    assert {name: first[name]["data"] for name in ("m", "v", "after")} == {
        "m": [0.5, -1.0],
        "v": [2.0, 3.0],
        "after": [1.0, -3.0],
    }
    assert first == second


def test_evaluation_after_training_in_one_graph_uses_the_statistics_that_were_sent(answer):
    expected = F.batch_norm(CHANNELS["x"], CHANNELS["m"], CHANNELS["v"])
    graph = nodes(
        ("train", "batch_norm", ["$x", None, None, "$m", "$v", True, 0.5, 1e-5, False], {}),
        ("eval", "batch_norm", ["$x", None, None, "$m", "$v", False, 0.5, 1e-5, False], {}),
        outputs=["train", "eval"],
    )
    sent = {name: CHANNELS[name] for name in "xmv"}
    outputs = answer("forward", graph=graph, inputs=send(sent), encoding="base64")["outputs"]
    assert_same_bits([outputs["eval"]], [expected])


# Several layers, and values of lists


def test_an_lstm_of_two_layers_both_ways_is_torchs_module(answer):
    """As a module spells it: lists of references, and `$lstm.0` of three values."""
    torch.manual_seed(3)
    module = torch.nn.LSTM(3, 2, num_layers=2, bidirectional=True, dtype=F64)
    weights = {f"w{i}": weight.detach().clone() for i, weight in enumerate(module.parameters())}
    x, h, c = real(5, 2, 3), real(4, 2, 2), real(4, 2, 2)
    graph = nodes(
        ("lstm", "lstm", ["$x", ["$h", "$c"], [f"$w{i}" for i in range(16)], True, 2, 0.0, False, True, False], {}),
        ("loss", "sum", ["$lstm.0"], {}),
        outputs={"loss": "$loss", "h": "$lstm.1", "c": "$lstm.2"},
    )

    def function(x: Tensor, h: Tensor, c: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip(dict(module.named_parameters()), given, strict=True))
        y, (hidden, cell) = torch.func.functional_call(module, named, (x, (h, c)))
        return y.sum(), hidden, cell

    assert_gradients_of_torch(answer, row(graph, function, x=x, h=h, c=c, **weights))


def test_a_shape_behind_data_is_known_to_the_next_node(answer):
    graph = "i = nonzero(x); p = index_select(x, 0, i.squeeze(1)); s = tensor_split(p, n); y = s[1].sum()"
    x = torch.tensor([0.0, 3.0, 0.0, 4.0, 5.0], dtype=F64)

    def function(x: Tensor, n: Tensor) -> Tensor:
        return torch.tensor_split(x.index_select(0, x.nonzero().squeeze(1)), n)[1].sum()

    assert_gradients_of_torch(answer, row(graph, function, x=x, n=torch.tensor(2)))
