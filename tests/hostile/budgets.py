"""Small graphs whose values fit each on its own, and whose run would take hours or more memory than there is."""

from __future__ import annotations

from tests.hostile.case import texts
from tests.hostile.sizes import chain

WORK = {
    "a chain of matmuls": chain("ones([2000, 2000], dtype='float64') * x", "{a} = {b} @ {b}", 60, "y = {b}.sum()"),
    "one matmul": "h = ones([8000, 8000], dtype='float64') * x; guilty = h @ h; y = guilty.sum()",
    "matrix powers": "h = ones([3000, 3000], dtype='float64') * x; guilty = matrix_power(h, 1023); y = guilty.sum()",
    "an SVD": "h = rand([2500, 2500], dtype='float64') * x; guilty = linalg.svdvals(h); y = guilty.sum()",
    "eigenvalues": "h = rand([2500, 2500], dtype='float64') * x; guilty = linalg.eigvals(h); y = abs(guilty).sum()",
    "a pseudo-inverse": "h = rand([3000, 3000], dtype='float64') * x; guilty = linalg.pinv(h); y = guilty.sum()",
    "convolution of large kernels": "h = ones([1, 64, 256, 256], dtype='float64') * x; w = ones([64, 64, 65, 65], dtype='float64'); guilty = conv2d(h, w); y = guilty.sum()",
    "attention to a long sequence": "h = ones([1, 8, 16000, 128]) * x; guilty = scaled_dot_product_attention(h, h, h); y = guilty.sum()",
    "reductions of an expansion": "h = (ones([1], dtype='float64') * x).expand([67108864])\n"
    + "\n".join(f"s{k} = h.sum() * {k}" for k in range(1, 400))
    + "\ny = s1 + s399",
    "exponentials": chain("ones([60000000], dtype='float64') * x", "{a} = lgamma({b})", 2, "y = {b}.sum()"),
    "cumulative sums of an expansion": chain(
        "(ones([1], dtype='float64') * x).expand([60000000])", "{a} = logcumsumexp({b}, 0)", 3, "y = {b}.sum()"
    ),
    "a distance of long vectors": "h = ones([8000, 2000], dtype='float64') * x; guilty = cdist(h, h, 3.0); y = guilty.sum()",
    "multigammaln": "h = ones([60000000], dtype='float64') * 2000 + x; guilty = special.multigammaln(h, 1024); y = guilty.sum()",
    "a sort": "h = rand([60000000], dtype='float64') * x; guilty = sort(h); y = guilty.values.sum()",
    "a pool with a huge window": "h = ones([1, 2000, 2000]) * x; guilty = max_pool2d(h, [1000, 1000], [1, 1]); y = guilty.sum()",
    "a bilinear form": "h = ones([6000, 2000]) * x; w = ones([10, 2000, 2000]); guilty = bilinear(h, h, w); y = guilty.sum()",
}

MEMORY = {
    "many large values for the backward pass": chain(
        "ones([30000000], dtype='complex128') * x", "{a} = {b} * {b}", 5, "y = abs({b}).sum()"
    ),
    "values between those of the graph": "h = ones([8000, 1000], dtype='float64') * x; guilty = cosine_similarity(h[:, None], h, 2); y = guilty.sum()",
}

BUDGETS = [
    *texts("work", "limit_exceeded", WORK, {"x": 1.0}),
    *texts("memory", "memory_limit", MEMORY, {"x": 1.0}),
]
