"""Tiny requests for giant results, and for endless time without any memory."""

from __future__ import annotations

from tests.hostile.case import IMAGE, MATRIX, ask, calling, case, texts

LONG = {"x": {"dtype": "float64", "shape": [20_000], "data": [1.0] * 20_000}}
INDEX = {"x": {"dtype": "int64", "data": [0, 1, 2]}}
CUBE = {"x": {"shape": [1, 1, 2, 2, 2], "data": [1.0] * 8}}
SIGNAL = {"x": {"shape": [1, 1, 4], "data": [1.0] * 4}}
KERNEL = "w = [[[[1.0, 2.0], [3.0, 4.0]]]]; "


def chain(first: str, step: str, count: int, last: str) -> str:
    """`h0 = first`, then `step` again and again, `{a}` from `{b}`."""
    lines = [f"h0 = {first}", *(step.format(a=f"h{k + 1}", b=f"h{k}") for k in range(count))]
    return "\n".join([*lines, last.format(b=f"h{count}")])


FACTORIES = {op: f"y = {op}([1000000, 1000000]).sum() + x.sum()" for op in ("zeros", "ones", "rand", "randn")} | {
    "full": "y = full([1000000000000], 1.0).sum() + x.sum()",
    "a product over 64 bits": f"y = zeros({[2**20] * 8}).sum() + x.sum()",
    "one size of 2**62": f"y = ones([{2**62}]).sum() + x.sum()",
    "arange": "y = arange(1000000000000).sum() + x.sum()",
    "arange by a tiny step": "y = arange(0.0, 1.0, 1e-15).sum() + x.sum()",
    "linspace": "y = linspace(0.0, 1.0, 1000000000000).sum() + x.sum()",
    "logspace": "y = logspace(0.0, 1.0, 1000000000000).sum() + x.sum()",
    "eye": "y = eye(1000000).sum() + x.sum()",
    "eye of two sizes": "y = eye(1000000, 1000000).sum() + x.sum()",
    "tril_indices": "y = tril_indices(1000000, 1000000).sum() + x.sum()",
    "triu_indices": "y = triu_indices(1000000, 1000000).sum() + x.sum()",
    "randint": "y = randint(5, [1000000, 1000000]).sum() + x.sum()",
    "randperm": "y = randperm(1000000000000).sum() + x.sum()",
    "new_zeros": "y = x.new_zeros([1000000, 1000000]).sum()",
    "new_full": "y = x.new_full([1000000, 1000000], 2.0).sum()",
    "new_ones": "y = x.new_ones([1000000, 1000000]).sum()",
}

VECTORS = {
    "expand": "guilty = x.expand([1000000000000, 3]); y = guilty.contiguous().sum()",
    "expand to 2**40": "guilty = ones([1]).expand([1099511627776]); y = guilty.sum() + x.sum()",
    "broadcast_to": "y = broadcast_to(x, [1000000000, 3])",
    "repeat": "y = x.repeat(1000000000)",
    "repeat on many axes": "y = x.repeat(100, 100, 100, 100, 100, 100)",
    "tile": "y = tile(x, [1000000, 1000000])",
    "pad": "y = pad(x, [1000000000, 1000000000])",
    "constant_pad_nd": "y = constant_pad_nd(x, [0, 1000000000000])",
    "diag_embed": "h = x.repeat(20000); guilty = diag_embed(h); y = guilty.sum()",
    "diag_embed with an offset": "y = diag_embed(x, 1000000000)",
    "diagflat": "y = diagflat(x, 100000)",
    "diag": "y = diag(x, 1000000)",
    "vander": "y = linalg.vander(x, N=1000000000000)",
    "one_hot": "i = argmax(x); guilty = one_hot(i, 1000000000000); y = guilty.sum()",
    "repeat_interleave": "y = repeat_interleave(x, 1000000000000)",
    "combinations": "y = combinations(x, 60)",
    "combinations beyond any order": "y = combinations(x, 1000000000)",
    "unsqueeze and expand": "guilty = x[:, None].expand([3, 1000000000]); y = guilty.exp().sum()",
    "where": "m = zeros([8000, 1]) > 0; h = zeros([1, 20000]); guilty = where(m, h, 1.0); y = guilty.sum() + x.sum()",
    "a mask broadcast": "m = zeros([8000, 1]) > 0; guilty = zeros([1, 20000]).masked_fill(m, 1.0); y = guilty.sum() + x.sum()",
    "doubling sixty times": chain("x", "{a} = cat([{b}, {b}])", 60, "y = {b}.sum()"),
    "outer products of themselves": chain("x", "{a} = outer({b}, {b}).flatten()", 6, "y = {b}.sum()"),
    "kron of itself": chain("x", "{a} = kron({b}, {b})", 8, "y = {b}.sum()"),
    "stacked forty times": chain("x", "{a} = stack([{b}, {b}])", 40, "y = {b}.sum()"),
    "fft": "y = abs(fft.fft(x, 1000000000000)).sum()",
    "rfft": "y = abs(fft.rfft(x, 1000000000000)).sum()",
    "irfft": "y = fft.irfft(x, 1000000000000).sum()",
    "ifft": "y = abs(fft.ifft(x, 1000000000000)).sum()",
    "hfft": "y = fft.hfft(x, 1000000000000).sum()",
    "pieces": "y = tensor_split(x, 1000000)[0]",
    "chunks": "y = chunk(x, 1000000000)[0]",
    "multigammaln": "y = special.multigammaln(x + 1e9, 1000000000)",
    "mvlgamma": "y = mvlgamma(x + 1e9, 1000000000)",
    "nan_to_num of an expansion": "guilty = x.expand([100000000, 3]); y = nan_to_num(guilty)",
    "cumsum of an expansion": "guilty = x.expand([1000000000, 3]); y = cumsum(guilty, 0)",
    "cumprod of an expansion": "guilty = x.expand([1000000000, 3]); y = cumprod(guilty, 0)",
    "logcumsumexp of an expansion": "guilty = x.expand([1000000000, 3]); y = logcumsumexp(guilty, 0)",
    "cummax of an expansion": "guilty = x.expand([1000000000, 3]); y = cummax(guilty, 0).values",
    "sort of an expansion": "guilty = x.expand([1000000000, 3]); y = sort(guilty, 0).values",
    "a scalar to 64 axes": f"y = x.sum().expand({[3] * 60})",
    "many small values": chain("x.expand([20000000, 3])", "{a} = {b} + 1", 20, "y = {b}.sum()"),
    "repeated slices": "y = x.as_strided([100000, 100000], [0, 0]).sum()",
}

LONGS = {
    "outer": "y = outer(x, x)",
    "cdist": "h = x[:, None]; guilty = cdist(h, h); y = guilty.sum()",
    "ger": "y = ger(x, x)",
    "kron": "y = kron(x, x)",
    "cartesian_prod": "y = cartesian_prod([x, x, x])",
    "meshgrid": "guilty = meshgrid([x, x, x]); y = guilty[0]",
    "broadcast addition": "y = x[:, None] + x",
    "a matmul of two vectors": "y = x[:, None] @ x[None]",
    "einsum": "y = einsum('i,j->ij', [x, x])",
    "tensordot": "y = tensordot(x, x, [], [])",
    "pdist": "h = x[:, None]; guilty = pdist(h); y = guilty.sum()",
    "a Vandermonde matrix": "y = linalg.vander(x)",
    "diag": "y = diag(x)",
    "combinations": "y = combinations(x, 3)",
    "block_diag": "h = x[:, None]; guilty = block_diag([h, h]).expand([30000, 40000, 2]); y = guilty",
    "all comparisons": "y = where(x[:, None] > x, 1.0, 0.0)",
}

MATRICES = {
    "matrix_power": "y = linalg.matrix_power(x, 4611686018427387904)",
    "matrix_power below zero": "y = matrix_power(x, -9223372036854775808)",
    "kron": chain("x", "{a} = kron({b}, {b})", 6, "y = {b}.sum()"),
    "block_diag": chain("x", "{a} = block_diag([{b}, {b}])", 40, "y = {b}.sum()"),
    "roll of an expansion": "guilty = x.expand([1000000000, 2, 2]); y = guilty.roll(1)",
    "unfold": "h = x.flatten().repeat(20000); guilty = h.unfold(0, 40000, 1); y = guilty.sum()",
    "batched inverse": "guilty = x.expand([1000000000, 2, 2]); y = linalg.inv(guilty)",
}

IMAGES = {
    "conv2d with padding": KERNEL + "y = conv2d(x, w, padding=1000000)",
    "conv_transpose2d with stride": KERNEL + "y = conv_transpose2d(x, w, stride=1000000)",
    "conv_transpose2d with dilation": KERNEL + "y = conv_transpose2d(x, w, dilation=1000000)",
    "upsample by size": "y = upsample_nearest2d(x, [1000000, 1000000])",
    "upsample by scale": "y = upsample_bilinear2d(x, None, False, [1e6, 1e6])",
    "upsample bicubic": "y = upsample_bicubic2d(x, [1000000, 1000000], False)",
    "upsample antialiased": "y = _upsample_bilinear2d_aa(x, [1000000, 1000000], False)",
    "adaptive_avg_pool2d": "y = adaptive_avg_pool2d(x, [1000000, 1000000])",
    "adaptive_max_pool2d": "y = adaptive_max_pool2d(x, [1000000, 1000000])[0]",
    "reflection_pad2d repeated": "y = replication_pad2d(x, [1000000, 1000000, 1000000, 1000000])",
    "im2col with padding": "y = F.unfold(x, [2, 2], padding=1000000)",
    "circular pad": "y = pad(x, [4, 4, 4, 4], 'circular').expand([100000, 10000, 12, 12])",
    "affine grid": "t = x.flatten()[:6].reshape(1, 2, 3); guilty = affine_grid_generator(t, [1, 1, 1000000, 1000000], False); y = guilty",
    "pixel_shuffle of an expansion": "guilty = x.expand([1, 1000000000, 4, 4]); y = pixel_shuffle(guilty, 2)",
    "grid_sampler of a huge grid": "guilty = zeros([1, 100000, 100000, 2]); y = grid_sampler_2d(x, guilty, 0, 0, False)",
}

OTHERS = [
    *texts(
        "giant",
        "limit_exceeded|incompatible_arguments",
        {"arange beyond 64 bits": "y = arange(0.0, 1e300, 1.0).sum() + x.sum()"},
    ),
    *texts("giant", "limit_exceeded", {"upsample_nearest1d": "y = upsample_nearest1d(x, [1000000000000])"}, SIGNAL),
    *texts(
        "giant", "limit_exceeded", {"upsample by scale 1e9": "y = upsample_linear1d(x, None, False, [1e9])"}, SIGNAL
    ),
    *texts(
        "giant",
        "limit_exceeded",
        {"upsample_trilinear3d": "y = upsample_trilinear3d(x, [100000, 100000, 100000], False)"},
        CUBE,
    ),
    *texts(
        "giant",
        "limit_exceeded",
        {"col2im": "y = col2im(x, [100000, 100000], [1, 1], [1, 1], [0, 0], [100000, 100000])"},
        {"x": {"shape": [1, 1, 1], "data": [0.0]}},
    ),
    *texts(
        "giant",
        "limit_exceeded",
        {"one_hot of many classes": "y = one_hot(x, 1000000000000)"},
        INDEX,
        path="/v1/forward",
    ),
    *texts(
        "giant",
        "limit_exceeded",
        {"repeats in a tensor": "y = repeat_interleave(x)"},
        {"x": {"dtype": "int64", "data": [10**12]}},
        path="/v1/forward",
    ),
    *texts(
        "giant",
        "refused_op",
        {"bincount of a large number": "y = bincount(x)"},
        {"x": {"dtype": "int64", "data": [10**12]}},
        path="/v1/forward",
    ),
    case("giant: a Jacobian", ask("y = x * x", LONG), "limit_exceeded", None, node="y", path="/v1/jacobian"),
    case(
        "giant: a Jacobian beside gradients",
        ask("y = x * x", LONG, jacobian=True, grad_tensors=[LONG["x"]]),
        "limit_exceeded",
        "/jacobian",
    ),
    case("giant: a Hessian", ask("y = (x * x).sum()", LONG), "limit_exceeded", None, node="x", path="/v1/hessian"),
    case(
        "giant: a list of 5,000 sizes",
        ask(calling("zeros", [1] * 5000)),
        "bad_argument",
        "/graph/nodes/0/args/0",
        node="y",
    ),
    case(
        "giant: a list of 65 sizes", ask(calling("zeros", [1] * 65), {}), "limit_exceeded", "/graph/nodes/0", node="y"
    ),
    case(
        "giant: a batch of grad_tensors that is not sent",
        ask("y = x * x", is_grads_batched=True, grad_tensors={"y": {"shape": [10**9, 3], "data": [1.0]}}),
        "wrong_count",
        "/grad_tensors/y/data",
    ),
]

SIZES = [
    *texts("factory", "limit_exceeded", FACTORIES),
    *texts("vector", "limit_exceeded", VECTORS),
    *texts("long vector", "limit_exceeded|memory_limit", LONGS, LONG),
    *texts("matrix", "limit_exceeded", MATRICES, MATRIX),
    *texts("image", "limit_exceeded", IMAGES, IMAGE),
    *OTHERS,
]
