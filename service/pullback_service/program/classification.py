"""Which of PyTorch's operators an untrusted graph may call: a rule over their schemas, and the exceptions to it.

The outcome is committed as operators.tsv, one row an overload: name, tier, derivative, reason. The service
reads only that table; `python -m pullback_service.program.classification` writes it anew from the
installed torch, and a test fails when the two drift apart.

Tiers: `open` may run as it is; `guarded` has a check on its arguments (guards.py); `refused` does not run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from pullback_service.program.probing import is_differentiable

TABLE = Path(__file__).with_name("operators.tsv")

GUARDED = {
    "aten.argwhere.default": "its size depends on the data; bounded before it runs",
    "aten.arange.default": "makes a tensor; sized before it runs",
    "aten.arange.start": "makes a tensor; sized before it runs",
    "aten.arange.start_step": "makes a tensor; sized before it runs",
    "aten.combinations.default": "r is bounded",
    "aten.corrcoef.default": "its kernel reads the data; sized before it runs",
    "aten.cov.default": "its kernel reads the data; sized before it runs",
    "aten.eye.default": "makes a tensor; sized before it runs",
    "aten.eye.m": "makes a tensor; sized before it runs",
    "aten.full.default": "makes a tensor; sized before it runs",
    "aten.index.Tensor": "its size depends on the data where an index is a mask; counted before it runs",
    "aten.linalg_eigvals.default": "the matrix must be finite",
    "aten.linalg_eigvalsh.default": "the matrix must be finite",
    "aten.linalg_matrix_power.default": "the exponent is bounded",
    "aten.linspace.default": "makes a tensor; sized before it runs",
    "aten.logspace.default": "makes a tensor; sized before it runs",
    "aten.masked_select.default": "its size depends on the data; bounded before it runs",
    "aten.matrix_power.default": "the exponent is bounded",
    "aten.mvlgamma.default": "p is bounded",
    "aten.nonzero.default": "its size depends on the data; bounded before it runs",
    "aten.one_hot.default": "num_classes must be given",
    "aten.ones.default": "makes a tensor; sized before it runs",
    "aten.scaled_dot_product_attention.default": "dropout_p must be 0",
    "aten.smooth_l1_loss.default": "beta must not be 0",
    "aten.special_multigammaln.default": "p is bounded",
    "aten.tril_indices.default": "makes a tensor; sized before it runs",
    "aten.triu_indices.default": "makes a tensor; sized before it runs",
    "aten.zeros.default": "makes a tensor; sized before it runs",
}

OPEN = frozenset(
    # Tagged as perhaps returning their argument itself, which nothing here can tell from a copy.
    f"aten.{packet}.default"
    for packet in ("atleast_1d", "atleast_2d", "atleast_3d", "cartesian_prod")
)

REFUSED_OVERLOADS = {
    "aten.geqrf.default": "its shape cannot be told before it runs",
    "aten.linspace.Scalar_Tensor": "its bounds must be numbers",
    "aten.linspace.Tensor_Scalar": "its bounds must be numbers",
    "aten.linspace.Tensor_Tensor": "its bounds must be numbers",
    "aten.logspace.Scalar_Tensor": "its bounds must be numbers",
    "aten.logspace.Tensor_Scalar": "its bounds must be numbers",
    "aten.logspace.Tensor_Tensor": "its bounds must be numbers",
    "aten.narrow.Tensor": "its start must be a number",
    "aten.tensor_split.tensor_indices_or_sections": "its sections must be numbers",
    "aten.nonzero_numpy.default": "its size depends on the data; use nonzero",
    "aten.where.default": "its size depends on the data; use nonzero",
    "aten.to.device": "the device belongs to the request, not to the graph",
    "aten.to.dtype_layout": "the device belongs to the request, not to the graph",
}

_CORRUPTING = """
batch_norm ctc_loss embedding_bag fractional_max_pool2d fractional_max_pool3d grid_sampler grid_sampler_2d
grid_sampler_3d instance_norm lu_unpack max_unpool2d max_unpool3d native_batch_norm pdist segment_reduce
"""

_INTERNAL = """
alias batch_norm_elemt batch_norm_gather_stats batch_norm_gather_stats_with_counts batch_norm_stats
batch_norm_update_stats ccol_indices choose_qparams_optimized coalesce col_indices conv_depthwise3d
convolution_overrideable copy crow_indices cudnn_is_acceptable data dequantize detach_copy embedding_renorm fill
flatten_dense_tensors glu_jvp hash_tensor hspmm indices int_repr istft lift lift_fresh linalg__powsum
log_sigmoid_forward matrix_exp_backward multilabel_margin_loss_forward native_channel_shuffle native_dropout
native_norm nested_to_padded_tensor nll_loss2d_forward nll_loss_forward norm_except_dim pin_memory put
q_per_channel_scales q_per_channel_zero_points resize resize_as row_indices rrelu_with_noise set slice_inverse
slow_conv3d_forward smm sspaddmm stft thnn_conv2d to_dense to_padded_tensor unflatten_dense_tensors
values zero
"""

REFUSED_PACKETS: dict[str, str] = {
    **dict.fromkeys(_CORRUPTING.split(), "its kernels can corrupt memory on odd arguments"),
    **dict.fromkeys(_INTERNAL.split(), "it is an internal step of PyTorch's, not a function"),
    **dict.fromkeys(["as_strided", "as_strided_scatter"], "it reaches past the tensor's own elements"),
    **dict.fromkeys(["histogramdd", "histogram"], "it can run without end on a small request"),
    "from_file": "it reads and writes the host's files",
}

REFUSED_PATTERNS = [
    (r"_backward|_jvp$", "it is a step of a derivative; ask for the derivative instead"),
    (r"^(cudnn|miopen|mkldnn|mps|fbgemm|slow_conv)|_mps$|to_mkldnn", "it belongs to one vendor's backend"),
    (r"quantize|^q_|qparams", "quantised tensors are not served"),
    (r"sparse|^to_(sparse|dense)", "sparse tensors are not served"),
    (r"nested", "nested tensors are not served"),
    (r"(_cell|^rnn_.*|^(lstm|gru)(_mps)?)$", "recurrent kernels are not served; write the cell out"),
    (r"^(new_)?empty", "it hands out uninitialised memory"),
    (r"^special_.*polynomial_", "its degree is not bounded"),
]

REFUSING_TAGS = {
    torch.Tag.nondeterministic_seeded: "it draws random numbers",
    torch.Tag.data_dependent_output: "its result is a number taken out of the data",
    torch.Tag.dynamic_output_shape: "its size depends on the data",
    torch.Tag.inplace_view: "it changes its argument",
    torch.Tag.maybe_aliasing_or_mutating: "it may change its argument",
    torch.Tag.view_copy: "it is an internal twin of a view",
}

_FOREIGN_TYPES = re.compile(r"Storage|Stream|Generator|__torch__")


def classify(overload: Any) -> tuple[str, str]:
    """The tier of an overload (`torch._ops.OpOverload`), and the reason unless it is open."""
    name = str(overload)
    if name in GUARDED:
        return "guarded", GUARDED[name]
    if name in OPEN:
        return "open", ""
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


def _why_not(overload: Any) -> str | None:
    schema = overload._schema
    if schema.is_mutable:
        return "it changes its argument; a graph has no mutation"
    if not schema.returns or any("Tensor" not in str(r.type) for r in schema.returns):
        return "it does not return tensors"
    types = [str(argument.type) for argument in schema.arguments]
    for tag, reason in REFUSING_TAGS.items():
        if tag in overload.tags:
            return reason
    if any(_FOREIGN_TYPES.search(kind) for kind in types):
        return "it takes an object that JSON cannot hold"
    if not any("Tensor" in kind for kind in types):
        return "it takes no tensor"
    return None if has_autograd_kernel(overload) else "it has no derivative rule and none is needed for it"


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
    is_known = has_autograd_kernel(overload) if found is None else found
    return str(overload), tier, "differentiable" if is_known else "not differentiable", reason


if __name__ == "__main__":
    TABLE.write_text(table())
