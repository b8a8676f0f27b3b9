"""Operators that segfault, abort, hang or corrupt memory in PyTorch, with the arguments that make them do so."""

from __future__ import annotations

from typing import Any

from tests.hostile.case import Case, ask, case

I64 = "int64"
NANS = {"x": [["NaN", 1.0], [1.0, "Infinity"]]}
IMAGE = {"x": {"shape": [1, 1, 2, 2], "data": [1.0] * 4}}


def ints(*data: object) -> dict[str, object]:
    return {"dtype": I64, "data": list(data)}


CTC = {"x": {"dtype": "float64", "shape": [5, 2, 4], "data": [0.1] * 40}}
SEGMENTS = {"x": [1.0, 2.0, 3.0], "o": ints(0, 10**9)}
LINES = {"x": {"dtype": I64, "data": [-(2**63), 1]}, "d": ints(-1, 1)}


def _case(name: str, text: str, inputs: Any, code: str, node: str | None = "y", **more: Any) -> Case:
    return case(f"crash: {name}", ask(text, inputs), code, "/graph", node=node, **more)


VALUE, SHAPE, LIMIT, REFUSED = "op_failed", "incompatible_arguments", "limit_exceeded", "refused_op|unknown_op"

CRASHES = [
    _case("eigvals of NaN", "y = linalg.eigvals(x).abs().sum()", NANS, VALUE, node=None),
    _case("eigvalsh of NaN", "y = linalg.eigvalsh(x)", NANS, VALUE, path="/v1/forward"),
    _case("eig of NaN", "h = linalg.eig(x); y = h[0].abs().sum()", NANS, VALUE, node=None),
    _case(
        "a grid of infinities",
        "g = full([1, 2, 2, 2], 1e308, dtype='float64') * 10; y = grid_sampler_2d(x, g, 0, 2, False)",
        IMAGE,
        VALUE,
        path="/v1/forward",
    ),
    _case(
        "a grid of NaN, reflected",
        "g = log(full([1, 2, 2, 2], -1.0, dtype='float64')); y = grid_sampler(x, g, 1, 2, True)",
        IMAGE,
        VALUE,
        path="/v1/forward",
    ),
    _case(
        "ctc_loss with targets far out",
        "y = ctc_loss(x, t, [5, 5], [2, 2])",
        {**CTC, "t": ints([10**9, 1], [1, 2])},
        VALUE,
    ),
    _case(
        "ctc_loss with negative targets",
        "y = ctc_loss(x, t, [5, 5], [2, 2])",
        {**CTC, "t": ints([-5, 1], [1, 2])},
        VALUE,
    ),
    _case(
        "ctc_loss with lengths far out",
        "y = ctc_loss(x, t, [500000, 5], [2, 2])",
        {**CTC, "t": ints([1, 1], [1, 2])},
        VALUE,
    ),
    _case(
        "ctc_loss with long targets",
        "y = ctc_loss(x, t, [5, 5], [2000000, 2])",
        {**CTC, "t": ints([1, 1], [1, 2])},
        VALUE,
    ),
    _case(
        "ctc_loss with a blank far out",
        "y = ctc_loss(x, t, [5, 5], [2, 2], 1000000)",
        {**CTC, "t": ints([1, 1], [1, 2])},
        VALUE,
    ),
    _case("pdist without a row", "y = pdist(x)", {"x": {"dtype": "float64", "shape": [0, 3], "data": []}}, SHAPE),
    _case(
        "lu_unpack without pivots",
        "y = lu_unpack(x, p)[1]",
        {"x": [[1.0, 2.0], [3.0, 4.0]], "p": {"dtype": "int32", "shape": [0], "data": []}},
        SHAPE,
        node=None,
    ),
    _case(
        "lu_unpack with pivots far out",
        "y = lu_unpack(x, p)[1]",
        {"x": [[1.0, 2.0], [3.0, 4.0]], "p": {"dtype": "int32", "data": [10**9, 1]}},
        VALUE,
        node=None,
        path="/v1/forward",
    ),
    _case(
        "native_batch_norm without statistics",
        "h = native_batch_norm(x, None, None, None, None, False, 0.1, 1e-5); y = h[0].sum()",
        IMAGE,
        SHAPE,
        node="h",
    ),
    _case(
        "batch_norm without statistics",
        "y = batch_norm(x, None, None, None, None, False, 0.1, 1e-5, False)",
        IMAGE,
        SHAPE,
    ),
    _case(
        "batch_norm with statistics too short",
        "m = zeros([0], dtype='float64'); y = batch_norm(x, None, None, m, m, False, 0.1, 1e-5, False)",
        IMAGE,
        SHAPE,
    ),
    _case(
        "instance_norm with weights too short",
        "m = zeros([0], dtype='float64'); y = instance_norm(x, m, m, None, None, True, 0.1, 1e-5, False)",
        IMAGE,
        SHAPE,
    ),
    _case(
        "embedding_bag without offsets",
        "h = embedding_bag(w, i, o); y = h[0]",
        {"w": [[1.0, 2.0]], "i": ints(0), "o": {"dtype": I64, "shape": [0], "data": []}},
        VALUE,
        node="h",
        path="/v1/forward",
    ),
    _case(
        "embedding_bag with offsets far out",
        "h = embedding_bag(w, i, o); y = h[0]",
        {"w": [[1.0, 2.0]], "i": ints(0), "o": ints(0, 10**9)},
        VALUE,
        node="h",
        path="/v1/forward",
    ),
    _case(
        "embedding_bag with indices far out",
        "h = embedding_bag(w, i, o); y = h[0]",
        {"w": [[1.0, 2.0]], "i": ints(10**9), "o": ints(0)},
        VALUE,
        node="h",
        path="/v1/forward",
    ),
    _case(
        "segment_reduce with offsets far out",
        "y = segment_reduce(x, 'sum', offsets=o)",
        SEGMENTS,
        "op_crashed|op_failed",
        costs_worker=True,
    ),
    _case(
        "max_unpool2d with indices far out",
        "y = max_unpool2d(x, i, [2, 2])",
        {**IMAGE, "i": {"dtype": I64, "shape": [1, 1, 2, 2], "data": [10**9, 0, 0, 0]}},
        VALUE,
        path="/v1/forward",
    ),
    _case(
        "max_unpool2d with indices below zero",
        "y = max_unpool2d(x, i, [2, 2])",
        {**IMAGE, "i": {"dtype": I64, "shape": [1, 1, 2, 2], "data": [-(10**9), 0, 0, 0]}},
        VALUE,
        path="/v1/forward",
    ),
    _case(
        "fractional_max_pool2d with samples far out",
        "s = full([1, 1, 2], 1e9, dtype='float64'); h = fractional_max_pool2d(x, [1, 1], [1, 1], s); y = h[0]",
        IMAGE,
        VALUE,
        node="h",
        path="/v1/forward",
    ),
    _case("the smallest integer by -1", "h = x // d; y = h", LINES, VALUE, node=None, path="/v1/forward"),
    _case("its remainder", "y = remainder(x, d)", LINES, VALUE, path="/v1/forward"),
    _case("its fmod", "y = fmod(x, d)", LINES, VALUE, path="/v1/forward"),
    _case(
        "its quotient by a number",
        "y = div(x, -1, rounding_mode='floor')",
        {"x": LINES["x"]},
        VALUE,
        path="/v1/forward",
    ),
    _case("an integer by zero", "y = x // (d - d)", LINES, VALUE, node=None, path="/v1/forward"),
    _case("an integer modulo zero", "y = remainder(x, 0)", {"x": LINES["x"]}, VALUE, path="/v1/forward"),
    _case(
        "matrix_power of -2**63", "y = matrix_power(x, -9223372036854775808)", {"x": [[1.0, 0.0], [0.0, 1.0]]}, LIMIT
    ),
    _case(
        "Legendre polynomials of degree 2**31",
        "y = special.legendre_polynomial_p(x, 2147483648)",
        {"x": [1.0]},
        REFUSED,
    ),
    _case("Laguerre polynomials", "y = special.laguerre_polynomial_l(x, 2147483648)", {"x": [1.0]}, REFUSED),
    _case("multigammaln of 10^9", "y = special.multigammaln(x, 1000000000)", {"x": [1e10]}, LIMIT),
    _case("combinations of 10^4 by 7", "h = x.repeat(10000); y = combinations(h, 7)", {"x": [1.0]}, LIMIT),
    _case("histogramdd of 1024^3 bins", "y = histogramdd(x, [1024, 1024, 1024])", {"x": [[1.0, 2.0, 3.0]]}, REFUSED),
    _case("tensor_split in 10^6", "h = tensor_split(x, 1000000); y = h[0]", {"x": [1.0]}, LIMIT, node="h"),
    _case("gather far out", "y = gather(x, 0, i)", {"x": [1.0], "i": ints(10**15)}, VALUE),
    _case("gather below zero", "y = gather(x, 0, i)", {"x": [1.0], "i": ints(-1)}, VALUE),
    _case("scatter far out", "y = scatter(x, 0, i, 1.0)", {"x": [1.0], "i": ints(10**15)}, VALUE),
    _case("index_select far out", "y = index_select(x, 0, i)", {"x": [1.0], "i": ints(10**15)}, VALUE),
    _case("an index tensor far out", "y = x[i]", {"x": [1.0], "i": ints(10**15)}, VALUE, node=None),
    _case("take far out", "y = take(x, i)", {"x": [1.0], "i": ints(10**15)}, VALUE),
    _case("put far out", "y = put(x, i, x)", {"x": [1.0], "i": ints(10**15)}, VALUE),
    _case("index_add far out", "y = index_add(x, 0, i, x)", {"x": [1.0], "i": ints(10**15)}, VALUE),
    _case("embedding far out", "y = embedding(w, i)", {"w": [[1.0]], "i": ints(10**15)}, VALUE),
    _case("a class far out", "y = nll_loss(x, i)", {"x": [[1.0, 2.0]], "i": ints(10**15)}, VALUE),
    _case(
        "cross_entropy with a class below zero", "y = cross_entropy(x, i)", {"x": [[1.0, 2.0]], "i": ints(-7)}, VALUE
    ),
    _case("one_hot far out", "y = one_hot(i, 3)", {"i": ints(10**15)}, VALUE, path="/v1/forward"),
    _case("multi_margin_loss far out", "y = multi_margin_loss(x, i)", {"x": [[1.0, 2.0]], "i": ints(10**9)}, VALUE),
    _case(
        "multilabel_margin_loss far out",
        "y = multilabel_margin_loss(x, i)",
        {"x": [[1.0, 2.0]], "i": ints([10**9, 0])},
        VALUE,
    ),
    _case("a negative repeat", "y = x.repeat(-1)", {"x": [1.0]}, SHAPE),
    _case("a negative number of repeats", "y = repeat_interleave(x, i)", {"x": [1.0], "i": ints(-1)}, VALUE),
    _case("a kernel of size 0", "y = max_pool2d(x, [0, 0])", IMAGE, SHAPE),
    _case("a stride of 0", "y = avg_pool2d(x, [1, 1], [0, 0])", IMAGE, SHAPE, node=None),
    _case("conv with 0 groups", "w = ones([1, 1, 1, 1], dtype='float64'); y = conv2d(x, w, groups=0)", IMAGE, SHAPE),
    _case(
        "conv with a negative dilation",
        "w = ones([1, 1, 1, 1], dtype='float64'); y = conv2d(x, w, dilation=-1)",
        IMAGE,
        SHAPE,
    ),
    _case(
        "conv with a huge dilation",
        "w = ones([1, 1, 2, 2], dtype='float64'); y = conv2d(x, w, dilation=4611686018427387904)",
        IMAGE,
        SHAPE,
    ),
    _case(
        "conv with huge groups",
        "w = ones([1, 1, 1, 1], dtype='float64'); y = conv2d(x, w, groups=4611686018427387904)",
        IMAGE,
        SHAPE,
    ),
    _case("pixel_shuffle by 0", "y = pixel_shuffle(x, 0)", IMAGE, SHAPE),
    _case("pixel_unshuffle by 0", "y = pixel_unshuffle(x, 0)", IMAGE, SHAPE),
    _case("channel_shuffle by 0", "y = channel_shuffle(x, 0)", IMAGE, SHAPE),
    _case("group_norm of 0 groups", "y = group_norm(x, 0)", IMAGE, SHAPE),
    _case("split by 0", "h = split(x, 0); y = h[0]", {"x": [1.0]}, SHAPE, node="h"),
    _case("chunk by 0", "h = chunk(x, 0); y = h[0]", {"x": [1.0]}, SHAPE, node="h"),
    _case("unfold with a step of 0", "y = x.unfold(0, 1, 0)", {"x": [1.0]}, SHAPE),
    _case("arange with a step of 0", "y = arange(0, 5, 0).sum() + x.sum()", {"x": [1.0]}, SHAPE, node=None),
    _case("arange to NaN", "y = arange(0.0, nan, 1.0).sum() + x.sum()", {"x": [1.0]}, "bad_argument", node=None),
    _case("an fft of length 0", "y = fft.fft(x, 0).abs().sum()", {"x": [1.0]}, SHAPE, node=None),
    _case("stft with a hop of 0", "y = stft(x, 4, 0).abs().sum()", {"x": [1.0] * 8}, SHAPE, node=None),
    _case("kthvalue far out", "h = kthvalue(x, 1000000000); y = h[0]", {"x": [1.0]}, SHAPE, node="h"),
    _case("topk far out", "h = topk(x, 1000000000); y = h[0]", {"x": [1.0]}, SHAPE, node="h"),
    _case("multinomial of negative weights", "y = multinomial(x, 1)", {"x": [-1.0, 2.0]}, VALUE, path="/v1/forward"),
    _case(
        "cholesky of an indefinite matrix",
        "y = linalg.cholesky(x)",
        {"x": [[1.0, 2.0], [2.0, 1.0]]},
        VALUE,
        path="/v1/forward",
    ),
    _case("bernoulli of 7", "y = bernoulli(x)", {"x": [7.0]}, VALUE, path="/v1/forward"),
    _case("bincount below zero", "y = bincount(i)", {"i": ints(-1)}, REFUSED + "|" + VALUE, path="/v1/forward"),
]
