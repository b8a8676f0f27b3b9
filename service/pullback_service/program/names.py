"""How an operator may be spelled, and which ATen packet each spelling means."""

from __future__ import annotations

from dataclasses import dataclass

_PREFIXES = ("torch.ops.aten.", "aten::", "aten.", "torch.Tensor.", "Tensor.", "torch.")
_FUNCTIONAL = ("nn.functional.", "functional.", "F.")
_MODULES = {"linalg.": "linalg_", "fft.": "fft_", "special.": "special_"}


@dataclass(frozen=True, slots=True)
class Spelling:
    """A packet, the overload if one was named, and the order of the positional parameters if it differs."""

    packet: str
    overload: str | None = None
    parameters: tuple[str, ...] | None = None


FUNCTIONAL: dict[str, Spelling] = {
    # torch.nn.functional names whose ATen operator is called otherwise or takes its arguments in another order.
    "binary_cross_entropy": Spelling("binary_cross_entropy", None, ("input", "target", "weight")),
    "binary_cross_entropy_with_logits": Spelling(
        "binary_cross_entropy_with_logits", None, ("input", "target", "weight")
    ),
    "cosine_similarity": Spelling("cosine_similarity", None, ("x1", "x2", "dim", "eps")),
    "cross_entropy": Spelling("cross_entropy_loss", None, ("input", "target", "weight")),
    "embedding": Spelling("embedding", None, ("input", "weight", "padding_idx")),
    "huber_loss": Spelling("huber_loss", None, ("input", "target", "reduction", "delta")),
    "kl_div": Spelling("kl_div", None, ("input", "target")),
    "l1_loss": Spelling("l1_loss", None, ("input", "target")),
    "logsigmoid": Spelling("log_sigmoid"),
    "mse_loss": Spelling("mse_loss", None, ("input", "target")),
    "nll_loss": Spelling("nll_loss_nd", None, ("input", "target", "weight")),
    "smooth_l1_loss": Spelling("smooth_l1_loss", None, ("input", "target")),
    "soft_margin_loss": Spelling("soft_margin_loss", None, ("input", "target")),
}

NOT_AS_IN_ATEN = frozenset({"batch_norm", "instance_norm", "dropout", "interpolate", "upsample", "normalize"})
"""torch.nn.functional names that no single operator stands for."""

ARGUMENT_ALIASES: dict[str, tuple[str, ...]] = {
    # The names of PyTorch's Python signatures beside those of its operator schemas.
    "self": ("input", "x", "x1"),
    "other": ("x2",),
    "dim": ("axis", "dims"),
    "dims": ("dim", "axis"),
    "keepdim": ("keepdims",),
    "indices": ("input",),
    "tensor1": ("x1", "input"),
    "size": ("shape",),
}

REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}
"""`reduction` is an integer in the operator schemas and a word in torch.nn.functional."""


def read_name(text: str) -> Spelling | None:
    """What packet and overload `text` spells; None when it is a functional name that no operator stands for."""
    name = text
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    for prefix in _FUNCTIONAL:
        if name.startswith(prefix):
            name = name.removeprefix(prefix)
            return None if name in NOT_AS_IN_ATEN else FUNCTIONAL.get(name, Spelling(name))
    for prefix, replacement in _MODULES.items():
        if name.startswith(prefix):
            name = replacement + name.removeprefix(prefix)
    packet, _, overload = name.partition(".")
    if packet in FUNCTIONAL and FUNCTIONAL[packet].packet != packet and not overload:
        return FUNCTIONAL[packet]
    return Spelling(packet, overload or None)


def aliases(packet: str) -> list[str]:
    """The other ways to write a packet's name."""
    spellings = [f"aten.{packet}", f"aten::{packet}", f"torch.{packet}"]
    spellings += [
        module + packet.removeprefix(prefix) for module, prefix in _MODULES.items() if packet.startswith(prefix)
    ]
    spellings += [f"nn.functional.{name}" for name, target in FUNCTIONAL.items() if target.packet == packet]
    return spellings
