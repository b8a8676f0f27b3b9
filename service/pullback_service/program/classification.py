"""Which of PyTorch's operators an untrusted graph may call: a rule over their schemas, and the exceptions to it.

The outcome is committed as operators.tsv, one row an overload: name, tier, derivative, reason. The service
reads only that table; `python -m pullback_service.program.classification` writes it anew from the
installed torch, and a test fails when the two drift apart.

Tiers: `open` may run as it is; `guarded` has a check on its arguments or values (guards.py); `isolated` runs in a
process of its own, since its kernels can corrupt memory on odd arguments; `refused` does not run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from pullback_service.program.probing import is_differentiable

TABLE = Path(__file__).with_name("operators.tsv")

_GUARDED = {
    "makes a tensor; sized before it runs": """
        arange.default arange.start arange.start_step eye.default eye.m full.default linspace.default logspace.default
        normal.float_float ones.default rand.default randint.default randint.low randn.default randperm.default
        scalar_tensor.default tril_indices.default triu_indices.default zeros.default
        """,
    "its size depends on the data; bounded before it runs": """
        argwhere.default istft.default linalg_lstsq.default masked_select.default narrow.Tensor nonzero.default
        repeat_interleave.Tensor repeat_interleave.self_Tensor
        """,
    "its size depends on the data where an index is a mask; counted before it runs": "index.Tensor",
    "the counts must be finite": "binomial.default",
    "its kernel reads the data; sized before it runs": "corrcoef.default cov.default",
    "without the batch's statistics it needs running ones": """
        batch_norm.default instance_norm.default native_batch_norm.default
        """,
    "the grid must be finite": "grid_sampler.default grid_sampler_2d.default grid_sampler_3d.default",
    "the matrix must be finite": "linalg_eigvals.default linalg_eigvalsh.default",
    "the exponent is bounded": "linalg_matrix_power.default matrix_power.default",
    "p is bounded": "mvlgamma.default special_multigammaln.default",
    "r is bounded": "combinations.default",
    "the number of pieces is bounded": "tensor_split.tensor_indices_or_sections",
    "the indices must lie in the output": "max_unpool2d.default max_unpool3d.default",
    "its strides must stay inside the tensor": "as_strided.default as_strided_copy.default as_strided_scatter.default",
    "the pivots must be those of an LU decomposition": "lu_unpack.default",
    "negative pivots must come in pairs": "linalg_ldl_solve.default",
    "num_classes must be given": "one_hot.default",
    "there must be a row": "multi_margin_loss.default multilabel_margin_loss.default pdist.default",
    "padded by reflection, something must be left": "pad.default reflection_pad3d.default",
    "there must be one value for each key": "scaled_dot_product_attention.default",
    "unsigned integers have no negative": "_neg_view.default",
    "there must be an integer above its lower bound": "random.from",
    "beta must not be 0": "smooth_l1_loss.default",
}

_ISOLATED = {
    "its kernels can corrupt memory on odd arguments": """
        _batch_norm_with_update_functional.default _native_batch_norm_legit.no_stats
        _native_batch_norm_legit_functional.default _native_batch_norm_legit_no_training.default
        _softmax_backward_data.default _unsafe_masked_index.default _unsafe_masked_index_put_accumulate.default
        ctc_loss.IntList ctc_loss.Tensor embedding_bag.default embedding_bag.padding_idx fractional_max_pool2d.default
        fractional_max_pool3d.default gru.data gru.input lstm.data lstm.input max_pool2d_with_indices_backward.default
        native_dropout_backward.default rnn_relu.data rnn_relu.input rnn_tanh.data rnn_tanh.input
        segment_reduce.default
        """,
}


def _reason_by_overload(names_by_reason: dict[str, str]) -> dict[str, str]:
    return {f"aten.{name}": reason for reason, names in names_by_reason.items() for name in names.split()}


GUARDED = _reason_by_overload(_GUARDED)
ISOLATED = _reason_by_overload(_ISOLATED)

_OPEN = """
_conj _conj_physical _lu_with_info _safe_softmax _to_copy _unsafe_view _upsample_bicubic2d_aa _upsample_bilinear2d_aa
_upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d alias alpha_dropout atleast_1d
atleast_2d atleast_3d bernoulli cartesian_prod cauchy conj_physical dropout exponential feature_alpha_dropout
feature_dropout fill geometric log_normal multinomial native_dropout poisson put random uniform unsafe_chunk zero
"""
OPEN = frozenset(_OPEN.split())
"""Packets that the rule would refuse for their tag or name, though their functional overloads are harmless."""

UNDERIVED = frozenset({"aten.binomial.default"})
"""Overloads whose derivative is not implemented, and which have no fake kernel that would show it."""

REFUSED_OVERLOADS = {
    "aten.geqrf.default": "its shape cannot be told before it runs",
    "aten.linspace.Scalar_Tensor": "its bounds must be numbers",
    "aten.linspace.Tensor_Scalar": "its bounds must be numbers",
    "aten.linspace.Tensor_Tensor": "its bounds must be numbers",
    "aten.logspace.Scalar_Tensor": "its bounds must be numbers",
    "aten.logspace.Tensor_Scalar": "its bounds must be numbers",
    "aten.logspace.Tensor_Tensor": "its bounds must be numbers",
    "aten.nonzero_numpy.default": "its size depends on the data; use nonzero",
    "aten.where.default": "its size depends on the data; use nonzero",
    "aten.to.device": "the device belongs to the request, not to the graph",
    "aten.to.dtype_layout": "the device belongs to the request, not to the graph",
}

_INTERNAL = """
batch_norm_elemt batch_norm_gather_stats batch_norm_gather_stats_with_counts batch_norm_stats
batch_norm_update_stats ccol_indices choose_qparams_optimized coalesce col_indices conv_depthwise3d
convolution_overrideable copy crow_indices cudnn_is_acceptable data dequantize embedding_renorm
flatten_dense_tensors glu_jvp hash_tensor hspmm indices int_repr lift lift_fresh lift_fresh_copy linalg__powsum
log_sigmoid_forward matrix_exp_backward multilabel_margin_loss_forward native_channel_shuffle
native_norm nested_to_padded_tensor nll_loss2d_forward nll_loss_forward norm_except_dim pin_memory
q_per_channel_scales q_per_channel_zero_points resize resize_as row_indices rrelu_with_noise set slice_inverse
slow_conv3d_forward smm sspaddmm thnn_conv2d to_dense to_padded_tensor unflatten_dense_tensors
values
"""

REFUSED_PACKETS: dict[str, str] = {
    **dict.fromkeys(_INTERNAL.split(), "it is an internal step of PyTorch's, not a function"),
    **dict.fromkeys(["histogramdd", "histogram"], "it can run without end on a small request"),
    "from_file": "it reads and writes the host's files",
}

REFUSED_PATTERNS = [
    (r"_backward|_jvp$", "it is a step of a derivative; ask for the derivative instead"),
    (r"^(cudnn|miopen|mkldnn|mps|fbgemm|slow_conv)|_mps$|to_mkldnn", "it belongs to one vendor's backend"),
    (r"quantize|^q_|qparams", "quantised tensors are not served"),
    (
        r"sparse|^to_(sparse|dense)|^(ccol_|col_|crow_|row_)?indices_copy$|^values_copy$",
        "sparse tensors are not served",
    ),
    (r"nested", "nested tensors are not served"),
    (r"_cell$", "it is an internal step of PyTorch's, not a function"),
    (r"^(new_)?empty", "it hands out uninitialised memory"),
    (r"^special_.*polynomial_", "its degree is not bounded"),
]

REFUSING_TAGS = {
    torch.Tag.data_dependent_output: "its result is a number taken out of the data",
    torch.Tag.dynamic_output_shape: "its size depends on the data",
    torch.Tag.inplace_view: "it changes its argument",
    torch.Tag.maybe_aliasing_or_mutating: "it may change its argument",
}

_FOREIGN_TYPES = re.compile(r"Storage|Stream|Dimname|__torch__|^Generator")


def classify(overload: Any) -> tuple[str, str]:
    """The tier of an overload (`torch._ops.OpOverload`), and the reason unless it is open."""
    name = str(overload)
    if name in GUARDED:
        return "guarded", GUARDED[name]
    if name in ISOLATED:
        return "isolated", ISOLATED[name]
    if name.split(".")[1] in OPEN:
        reason = _why_not_by_schema(overload)
        return ("refused", reason) if reason else ("open", "")
    reason = REFUSED_OVERLOADS.get(name) or _why_not_by_name(name.split(".")[1]) or _why_not(overload)
    return ("refused", reason) if reason else ("open", "")


def _why_not_by_name(packet: str) -> str | None:
    if packet.startswith("_"):
        return "it is private to PyTorch"
    if packet in REFUSED_PACKETS:
        return REFUSED_PACKETS[packet]
    for pattern, reason in REFUSED_PATTERNS:
        if re.search(pattern, packet):
            return reason
    return None


def _why_not_by_schema(overload: Any) -> str | None:
    schema = overload._schema
    if schema.is_mutable:
        return "it changes its argument; a graph has no mutation"
    if not schema.returns or any("Tensor" not in str(r.type) for r in schema.returns):
        return "it does not return tensors"
    types = [str(argument.type) for argument in schema.arguments]
    if any(_FOREIGN_TYPES.search(kind) for kind in types):
        return "it takes an object that JSON cannot hold"
    if any(argument.name == "generator" for argument in schema.arguments) and "generator" in overload._overloadname:
        return "its random numbers come from the request's seed; use the overload without a generator"
    return None


def _why_not(overload: Any) -> str | None:
    reason = _why_not_by_schema(overload)
    if reason:
        return reason
    for tag, reason in REFUSING_TAGS.items():
        if tag in overload.tags:
            return reason
    if not any("Tensor" in str(argument.type) for argument in overload._schema.arguments):
        return "it takes no tensor"
    is_random = torch.Tag.nondeterministic_seeded in overload.tags
    return None if is_random or has_autograd_kernel(overload) else "it has no derivative rule and none is needed for it"


def has_autograd_kernel(overload: Any) -> bool:
    """Whether autograd has a kernel for it, its own or by composition."""
    keys = ("CompositeImplicitAutograd", "Autograd", "AutogradCPU")
    return any(torch._C._dispatch_has_kernel_for_dispatch_key(overload.name(), key) for key in keys)


def every_overload() -> Iterator[Any]:
    """Every overload that the installed torch dispatches under aten, by name."""
    names = (n for n in torch._C._dispatch_get_all_op_names() if n.startswith("aten::"))
    for name in sorted(names):
        packet, _, overload = name.removeprefix("aten::").partition(".")
        yield getattr(getattr(torch.ops.aten, packet), overload or "default")


def table() -> str:
    """The text of operators.tsv for the installed torch."""
    return "".join("\t".join(_row(overload)) + "\n" for overload in every_overload())


def _row(overload: Any) -> tuple[str, str, str, str]:
    tier, reason = classify(overload)
    if tier == "refused":
        return str(overload), tier, "", reason
    found = is_differentiable(overload)
    is_known = has_autograd_kernel(overload) and str(overload) not in UNDERIVED if found is None else found
    return str(overload), tier, "differentiable" if is_known else "not differentiable", reason


if __name__ == "__main__":
    TABLE.write_text(table())
