"""How an operator may be spelled, and which ATen packet each spelling means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_PREFIXES = ("torch.ops.aten.", "aten::", "aten.", "torch.Tensor.", "Tensor.", "torch.")
_FUNCTIONAL = ("nn.functional.", "functional.", "F.")
_MODULES = {"linalg.": "linalg_", "fft.": "fft_", "special.": "special_"}


@dataclass(frozen=True, slots=True)
class Spelling:
    """A packet, the overload if one was named, and where the Python signature differs from the schema.

    `parameters` is the order of positional arguments, None for the schema's; `defaults` are those that the
    schema lacks; `unused` are parameters that only serve to find a default which has to be given here.
    """

    packet: str
    overload: str | None = None
    parameters: tuple[str, ...] | None = None
    defaults: tuple[tuple[str, Any], ...] = ()
    unused: frozenset[str] = frozenset()


def _dropout(packet: str, *, is_on: bool) -> Spelling:
    """A dropout of torch.nn.functional; some are on unless told otherwise, some off."""
    return Spelling(packet, None, ("input", "p", "training", "inplace"), (("p", 0.5), ("training", is_on)))


_UNPOOLED = ("input", "indices", "kernel_size", "stride", "padding", "output_size")
_SCALE = (("weight", None), ("bias", None))
_RATES = (("momentum", 0.1), ("eps", 1e-5), ("cudnn_enabled", True))


def _loss(packet: str, *more: str, **defaults: Any) -> Spelling:
    """A loss of torch.nn.functional: what follows by position is deprecated there, and differs from ATen."""
    return Spelling(packet, None, ("input", "target", *more), tuple(defaults.items()))


_WINDOW = (("dilation", 1), ("padding", 0), ("stride", 1))

FUNCTIONAL: dict[str, Spelling] = {
    # torch.nn.functional names whose ATen operator is called otherwise or takes other positional arguments.
    "affine_grid": Spelling(
        "affine_grid_generator", None, ("theta", "size", "align_corners"), (("align_corners", False),)
    ),
    "alpha_dropout": _dropout("alpha_dropout", is_on=False),
    "batch_norm": Spelling(
        "batch_norm",
        None,
        ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
        (*_SCALE, ("training", False), *_RATES),
    ),
    "binary_cross_entropy": _loss("binary_cross_entropy", "weight"),
    "binary_cross_entropy_with_logits": _loss("binary_cross_entropy_with_logits", "weight"),
    "cosine_embedding_loss": Spelling("cosine_embedding_loss", None, ("input1", "input2", "target", "margin")),
    "cross_entropy": _loss("cross_entropy_loss", "weight"),
    "dropout": _dropout("dropout", is_on=True),
    "dropout2d": _dropout("feature_dropout", is_on=True),
    "elu": Spelling("elu", None, ("input", "alpha", "inplace")),
    "embedding": Spelling("embedding", None, ("indices", "weight", "padding_idx")),
    "embedding_bag": Spelling(
        "embedding_bag",
        "padding_idx",
        ("input", "weight", "offsets"),
        (
            ("scale_grad_by_freq", False),
            ("mode", "mean"),
            ("sparse", False),
            ("per_sample_weights", None),
            ("include_last_offset", False),
            ("padding_idx", None),
        ),
    ),
    "feature_alpha_dropout": _dropout("feature_alpha_dropout", is_on=False),
    "fold": Spelling("col2im", None, ("input", "output_size", "kernel_size", "dilation", "padding", "stride"), _WINDOW),
    "grid_sample": Spelling(
        "grid_sampler",
        None,
        ("input", "grid", "mode", "padding_mode", "align_corners"),
        (("mode", "bilinear"), ("padding_mode", "zeros"), ("align_corners", False)),
    ),
    "hinge_embedding_loss": _loss("hinge_embedding_loss", "margin"),
    "huber_loss": _loss("huber_loss", "reduction", "delta"),
    "instance_norm": Spelling(
        "instance_norm",
        None,
        ("input", "running_mean", "running_var", "weight", "bias", "use_input_stats", "momentum", "eps"),
        (("running_mean", None), ("running_var", None), *_SCALE, ("use_input_stats", True), *_RATES),
    ),
    "kl_div": _loss("kl_div"),
    "l1_loss": _loss("l1_loss"),
    "log_softmax": Spelling("log_softmax", None, ("input", "dim")),
    "logsigmoid": Spelling("log_sigmoid"),
    "margin_ranking_loss": Spelling("margin_ranking_loss", None, ("input1", "input2", "target", "margin")),
    "max_unpool2d": Spelling("max_unpool2d", None, _UNPOOLED, (), frozenset({"kernel_size", "stride", "padding"})),
    "max_unpool3d": Spelling("max_unpool3d", None, _UNPOOLED, (), frozenset({"kernel_size"})),
    "mse_loss": _loss("mse_loss"),
    "multi_margin_loss": _loss("multi_margin_loss", "p", "margin", "weight"),
    "multilabel_margin_loss": _loss("multilabel_margin_loss"),
    "nll_loss": _loss("nll_loss_nd", "weight"),
    "poisson_nll_loss": _loss(
        "poisson_nll_loss", "log_input", "full", log_input=True, full=False, eps=1e-8, reduction="mean"
    ),
    "rrelu": Spelling("rrelu", None, ("input", "lower", "upper", "training", "inplace")),
    "smooth_l1_loss": _loss("smooth_l1_loss"),
    "soft_margin_loss": _loss("soft_margin_loss"),
    "softmax": Spelling("softmax", None, ("input", "dim")),
    "triplet_margin_loss": Spelling(
        "triplet_margin_loss", None, ("anchor", "positive", "negative", "margin", "p", "eps", "swap")
    ),
    "unfold": Spelling("im2col", None, ("input", "kernel_size", "dilation", "padding", "stride"), _WINDOW),
}

_AS_IN_ATEN = """
adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d
adaptive_max_pool3d avg_pool1d avg_pool2d avg_pool3d bilinear celu channel_shuffle conv1d conv2d conv3d conv_tbc
conv_transpose1d conv_transpose2d conv_transpose3d cosine_similarity ctc_loss gelu glu group_norm hardshrink hardsigmoid
hardswish hardtanh layer_norm leaky_relu linear max_pool1d max_pool1d_with_indices max_pool2d
max_pool2d_with_indices max_pool3d max_pool3d_with_indices mish one_hot pad pairwise_distance pdist pixel_shuffle
pixel_unshuffle prelu relu relu6 rms_norm scaled_dot_product_attention selu sigmoid silu softplus softshrink tanh
threshold
"""
AS_IN_ATEN = frozenset(_AS_IN_ATEN.split())
"""torch.nn.functional names whose positional arguments are those of the ATen operator of the same name."""

BARE_AS_FUNCTIONAL = frozenset({"cross_entropy", "elu", "fold", "logsigmoid", "nll_loss"})
"""Names that mean torch.nn.functional's function also without its prefix, since torch itself has none."""

INSTEAD = {
    # Python functions that no single operator stands for.
    "fractional_max_pool2d": "Write fractional_max_pool2d(x, kernel_size, output_size, samples), samples = rand(...).",
    "fractional_max_pool3d": "Write fractional_max_pool3d(x, kernel_size, output_size, samples), samples = rand(...).",
    "gumbel_softmax": "Write softmax((x - log(exponential(zeros_like(x)))) / tau, dim).",
    "interpolate": "Use upsample_nearest2d, upsample_bilinear2d, ...",
    "unique": "Its size depends on the data; sort, and compare neighbours.",
    "normalize": "Write x / linalg_vector_norm(x, 2, dim, True).clamp_min(1e-12).",
    "softmin": "Write softmax(-x, dim).",
    "softsign": "Write x / (1 + abs(x)).",
    "tanhshrink": "Write x - tanh(x).",
}

ARGUMENT_ALIASES: dict[str, tuple[str, ...]] = {
    # The names of PyTorch's Python signatures beside those of its operator schemas.
    "self": ("input", "x", "x1"),
    "other": ("x2",),
    "dim": ("axis", "dims"),
    "dims": ("dim", "axis"),
    "keepdim": ("keepdims",),
    "indices": ("input",),
    "interpolation_mode": ("mode",),
    "train": ("training",),
    "size": ("shape",),
    "split_size": ("split_size_or_sections",),
}

WORDS: dict[str, dict[str, int]] = {
    "interpolation_mode": {"bilinear": 0, "nearest": 1, "bicubic": 2},
    "mode": {"sum": 0, "mean": 1, "max": 2},  # of embedding_bag
    "padding_mode": {"zeros": 0, "border": 1, "reflection": 2},
    "reduction": {"none": 0, "mean": 1, "sum": 2},
}
"""Parameters that are integers in the operator schemas and words in torch.nn.functional."""


def read_name(text: str) -> Spelling:
    """What packet and overload `text` spells, whether or not there is one."""
    name = text.removeprefix(next((prefix for prefix in _PREFIXES if text.startswith(prefix)), ""))
    for prefix in _FUNCTIONAL:
        if name.startswith(prefix):
            name = name.removeprefix(prefix)
            # Any other name of that module may be another function in ATen: Tensor.unfold is not F.unfold.
            return FUNCTIONAL.get(name) or Spelling(name if name in AS_IN_ATEN else text)
    for prefix, replacement in _MODULES.items():
        if name.startswith(prefix):
            name = replacement + name.removeprefix(prefix)
    if text in BARE_AS_FUNCTIONAL:
        return FUNCTIONAL[text]
    packet, dot, overload = name.partition(".")
    return Spelling(packet, overload if dot else None)


def instead_of(text: str) -> str | None:
    """What to write instead of a Python function that no single operator stands for."""
    return INSTEAD.get(text.rpartition(".")[2])


def aliases(packet: str) -> list[str]:
    """The other ways to write a packet's name."""
    spellings = [f"aten.{packet}", f"aten::{packet}", f"torch.{packet}"]
    spellings += [
        module + packet.removeprefix(prefix) for module, prefix in _MODULES.items() if packet.startswith(prefix)
    ]
    functional = [name for name, target in FUNCTIONAL.items() if target.packet == packet]
    functional += [packet] if packet in AS_IN_ATEN else []
    return spellings + [f"nn.functional.{name}" for name in functional]
