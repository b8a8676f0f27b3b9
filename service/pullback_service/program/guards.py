"""The checks that guarded operators need before they may run; one row an operator, each with its reason.

Checks on literals run when a graph is compiled, checks on shapes when they are inferred, checks on values just before
the operator runs. The last two get the arguments by the names of the schema, defaults included.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from math import prod

import torch
from torch import Tensor

from pullback_schemas.problems import (
    BadArgument,
    IncompatibleArguments,
    LimitExceeded,
    NotDifferentiable,
    OpFailed,
    RefusedOp,
)
from pullback_service.program import sequence_guards
from pullback_service.program.binding import Call
from pullback_service.program.sequence_guards import Arguments, Guard

MAX_EXPONENT = 1024
MAX_ORDER = 64


# Literals


def _bounded(name: str, limit: int) -> Callable[[Call], None]:
    def check(call: Call) -> None:
        value = call.argument(name)
        if abs(value) > limit:
            raise LimitExceeded(f"{call.operator.name}: {name} is at most {limit} in size.", expected=limit, got=value)

    return check


def _needs_num_classes(call: Call) -> None:
    if call.argument("num_classes") < 0:
        raise RefusedOp(
            "aten.one_hot needs num_classes here: without it, its size depends on the data.",
            hint="Give num_classes.",
        )


def _needs_beta(call: Call) -> None:
    if call.argument("beta") == 0:
        raise RefusedOp("With beta=0 the gradient at a tie is NaN in this operator.", hint="Use l1_loss.")


def _has_room_above(call: Call) -> None:
    if call.argument("from") == 2**63 - 1:
        raise BadArgument("There is no integer above 'from' to draw.", expected="less than 2**63 - 1", got=2**63 - 1)


def _known_modes(interpolations: int) -> Callable[[Call], None]:
    """The kernels do nothing for a number that means no mode, and give back memory as they found it."""

    def check(call: Call) -> None:
        for name, count in (("interpolation_mode", interpolations), ("padding_mode", 3)):
            value = call.argument(name)
            if not 0 <= value < count:
                raise BadArgument(f"{call.operator.name} has no such {name}.", expected=f"0 to {count - 1}", got=value)

    return check


LITERAL_GUARDS: dict[str, Callable[[Call], None]] = {
    # Repeated squaring of -2**63 steps never ends.
    "aten.matrix_power.default": _bounded("n", MAX_EXPONENT),
    "aten.linalg_matrix_power.default": _bounded("n", MAX_EXPONENT),
    # A sum over p terms.
    "aten.mvlgamma.default": _bounded("p", MAX_EXPONENT),
    "aten.special_multigammaln.default": _bounded("p", MAX_EXPONENT),
    # Builds r index grids before it looks at their size.
    "aten.combinations.default": _bounded("r", MAX_ORDER),
    "aten.smooth_l1_loss.default": _needs_beta,
    "aten.one_hot.default": _needs_num_classes,
    # Looks for the next number of the dtype without end.
    "aten.random.from": _has_room_above,
    "aten.grid_sampler.default": _known_modes(3),
    "aten.grid_sampler_2d.default": _known_modes(3),
    "aten.grid_sampler_3d.default": _known_modes(2),
}


# Shapes


def _statistics_fit(arguments: Arguments) -> None:
    """Its kernels read as many statistics as there are channels, whether they were given or not."""
    is_training = arguments.get("training", arguments.get("use_input_stats"))
    if not is_training and (arguments.get("running_mean") is None or arguments.get("running_var") is None):
        raise IncompatibleArguments(
            "Without the batch's own statistics, running_mean and running_var are needed.",
            expected="running_mean and running_var",
            got=None,
            hint="Give both, or normalise by the batch's statistics.",
        )
    tensor = arguments["input"]
    if tensor.numel() == 0:
        return
    if tensor.dim() < 2:
        raise IncompatibleArguments(
            "The input has channels on its second axis.", expected="[batch, channels, ...]", got=list(tensor.shape)
        )
    channels = tensor.shape[1]
    for name in ("weight", "bias", "running_mean", "running_var"):
        given = arguments.get(name)
        if given is not None and tuple(given.shape) != (channels,):
            raise IncompatibleArguments(
                f"{name} holds one number a channel.", expected=[channels], got=list(given.shape)
            )


def _has_rows(arguments: Arguments) -> None:
    if 0 in arguments["self"].shape:
        raise IncompatibleArguments("There is no row to take distances from.", got=list(arguments["self"].shape))


def _reduces_something(arguments: Arguments) -> None:
    if arguments["reduction"] != 0 and 0 in arguments["self"].shape:
        raise IncompatibleArguments("There is no row to take a loss of.", got=list(arguments["self"].shape))


def _stays_inside(arguments: Arguments) -> None:
    """Strides lead from one element of the tensor's memory to another, never past its ends."""
    tensor, sizes, strides = arguments["self"], arguments["size"], arguments["stride"]
    offset = arguments["storage_offset"]
    first = tensor.storage_offset() if offset is None else offset
    held = tensor.untyped_storage().nbytes() // tensor.element_size()
    is_sound = len(sizes) == len(strides) and min([first, *sizes, *strides], default=0) >= 0
    reach = first + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=False))
    if not is_sound or (0 not in sizes and reach >= held):
        raise IncompatibleArguments(
            f"These strides reach past the tensor, which holds {held} elements.",
            expected=f"at most {held - 1}",
            got=reach,
        )


def _scatters_into_a_constant(arguments: Arguments) -> None:
    """Torch gives `self` the gradient where the source was written, and zeros elsewhere: the wrong way round."""
    _stays_inside(arguments)
    if arguments["self"].requires_grad:
        raise NotDifferentiable(
            "Torch's derivative of as_strided_scatter by its first argument is wrong, and is not given.",
            hint="Use select_scatter, slice_scatter, diagonal_scatter or index_put; or leave that input out of wrt.",
        )


def _pivots_fit(arguments: Arguments) -> None:
    *batch, rows, columns = arguments["LU_data"].shape if arguments["LU_data"].dim() > 1 else (-1, -1)
    expected = [*batch, min(rows, columns)]
    pivots = arguments["LU_pivots"]
    if arguments["unpack_pivots"] and (list(pivots.shape) != expected or pivots.dtype != torch.int32):
        raise IncompatibleArguments(
            "The pivots are those of an LU decomposition: int32, one for each row and column.",
            expected={"dtype": "int32", "shape": expected},
            got={"dtype": str(pivots.dtype).removeprefix("torch."), "shape": list(pivots.shape)},
        )


def _keys_meet_values(arguments: Arguments) -> None:
    keys, values = arguments["key"].shape, arguments["value"].shape
    if keys[-2:-1] != values[-2:-1]:
        raise IncompatibleArguments(
            "There is one value for each key.", expected=f"value of length {keys[-2:-1]}", got=list(values)
        )


def _leaves_something(arguments: Arguments) -> None:
    padding = arguments.get("padding", arguments.get("pad"))
    if len(padding) != 6 or arguments.get("mode", "reflect") != "reflect":
        return
    sizes = arguments["self"].shape[-3:]
    padded = [size + sum(padding[2 * i : 2 * i + 2]) for i, size in enumerate(reversed(sizes))][::-1]
    if min(padded, default=1) < 1:
        raise IncompatibleArguments("Nothing is left of the tensor.", expected="sizes of at least 1", got=padded)


def _can_be_negated(arguments: Arguments) -> None:
    dtype = arguments["self"].dtype
    if dtype in (torch.bool, torch.uint16, torch.uint32, torch.uint64):
        raise IncompatibleArguments(f"{dtype} has no negative.".replace("torch.", ""))


SHAPE_GUARDS: dict[str, Guard] = {
    "aten.batch_norm.default": _statistics_fit,
    "aten.native_batch_norm.default": _statistics_fit,
    "aten.instance_norm.default": _statistics_fit,
    "aten._batch_norm_with_update_functional.default": _statistics_fit,
    "aten._native_batch_norm_legit.no_stats": _statistics_fit,
    "aten._native_batch_norm_legit_functional.default": _statistics_fit,
    "aten._native_batch_norm_legit_no_training.default": _statistics_fit,
    # Its backward pass divides by the number of rows.
    "aten.pdist.default": _has_rows,
    # The loss of no rows is memory as it was.
    "aten.multi_margin_loss.default": _reduces_something,
    "aten.multilabel_margin_loss.default": _reduces_something,
    "aten.as_strided.default": _stays_inside,
    "aten.as_strided_copy.default": _stays_inside,
    "aten.as_strided_scatter.default": _scatters_into_a_constant,
    "aten.lu_unpack.default": _pivots_fit,
    # Its fused kernel writes past the end of the shorter one's gradient.
    "aten.scaled_dot_product_attention.default": _keys_meet_values,
    # The gradient of an empty result is memory as it was.
    "aten.reflection_pad3d.default": _leaves_something,
    "aten.pad.default": _leaves_something,
    # Nothing is negated until the values are read.
    "aten._neg_view.default": _can_be_negated,
    **sequence_guards.SHAPE_GUARDS,
}


# Values


def _finite(name: str) -> Guard:
    def check(arguments: Arguments) -> None:
        if not bool(torch.isfinite(arguments[name]).all()):
            raise OpFailed(f"{name} holds NaN or infinity.", hint="This operator needs finite values there.")

    return check


def _is_regular(name: str) -> Guard:
    """Torch says 0 for the gradient of a determinant that is 0; it is the adjugate matrix."""

    def check(arguments: Arguments) -> None:
        matrix = arguments[name]
        if matrix.requires_grad and bool((torch.linalg.det(matrix.detach()) == 0).any()):
            raise NotDifferentiable(
                "Torch's derivative of the determinant of a singular matrix is wrong, and is not given.",
                hint="Leave that input out of wrt, or move the matrix away from singularity.",
            )

    return check


def _has_positive_modulus(arguments: Arguments) -> None:
    modulus = arguments["abs"]
    if (modulus.requires_grad or arguments["angle"].requires_grad) and bool((modulus.detach() <= 0).any()):
        raise NotDifferentiable(
            "Torch's derivative of polar where the modulus is not positive is wrong, and is not given.",
            hint="Write complex(abs * cos(angle), abs * sin(angle)).",
        )


def _has_right_side(arguments: Arguments) -> None:
    if 0 in arguments["b"].shape:
        raise IncompatibleArguments("There is nothing to solve for.", got=list(arguments["b"].shape))


def _within(values: Tensor, low: int, high: int, what: str) -> None:
    """Refuse integers outside of low <= value < high."""
    is_outside = (values < low) | (values >= high)
    if bool(is_outside.any()):
        raise OpFailed(
            f"{what} lie from {low} to {high - 1}.", expected=f"{low} to {high - 1}", got=int(values[is_outside][0])
        )


def _divisible(arguments: Arguments) -> None:
    """The smallest integer divided by -1 does not fit, and ends the process with SIGFPE."""
    dividend, divisor = (torch.as_tensor(arguments[name]) for name in ("self", "other"))
    dtype = torch.result_type(dividend, divisor)
    if dtype.is_floating_point or dtype.is_complex or dtype == torch.bool:
        return
    if bool((divisor == -1).any()) and bool((dividend == torch.iinfo(dtype).min).any()):
        raise OpFailed(f"The smallest {dtype} divided by -1 does not fit {dtype}.".replace("torch.", ""))


def _pivots_in_range(arguments: Arguments) -> None:
    if arguments["unpack_pivots"]:
        _within(arguments["LU_pivots"], 1, arguments["LU_data"].shape[-2] + 1, "The pivots")


def _pivots_pair(arguments: Arguments) -> None:
    """A 2x2 block is two negative pivots side by side; with one alone, LAPACK's sytrs writes past the matrix."""
    pivots: Tensor = arguments["pivots"]
    for row in pivots.reshape(-1, pivots.shape[-1]).tolist() if pivots.numel() else []:
        for is_block, run in groupby(row, lambda pivot: pivot < 0):
            if is_block and len(list(run)) % 2:
                raise OpFailed(
                    "The pivots are those of an LDL decomposition: negative ones come in pairs.",
                    expected="an even number of negative pivots in each run of them",
                    got=row[:16],
                )


def _indices_in_output(arguments: Arguments) -> None:
    _within(arguments["indices"], 0, prod(arguments["output_size"]), "The indices")


def _indices_in_input(arguments: Arguments) -> None:
    if arguments["indices"].shape != arguments["grad_output"].shape:
        raise IncompatibleArguments(
            "There is one index for each element of grad_output.",
            expected=list(arguments["grad_output"].shape),
            got=list(arguments["indices"].shape),
        )
    _within(arguments["indices"], 0, prod(arguments["self"].shape[-2:]), "The indices")


def _targets_in_range(arguments: Arguments) -> None:
    """The kernel walks along the targets and lengths that it is told, wherever they lead."""
    probabilities, targets = arguments["log_probs"], arguments["targets"]
    steps, classes = probabilities.shape[0], probabilities.shape[-1]
    inputs, lengths = (torch.as_tensor(arguments[name]) for name in ("input_lengths", "target_lengths"))
    longest = targets.shape[-1] if targets.dim() > 1 else targets.numel()
    if targets.dim() < 2 and lengths.numel() > 1 and int(lengths.sum()) != targets.numel():
        raise OpFailed(
            "The targets are as many as their lengths say.", expected=int(lengths.sum()), got=targets.numel()
        )
    batch = probabilities.shape[1] if probabilities.dim() == 3 else 1
    if inputs.numel() != batch or lengths.numel() != batch or not 0 <= arguments["blank"] < classes:
        raise OpFailed("There is a length for each sequence, and blank is a class.", expected=[batch, classes])
    _within(inputs, 0, steps + 1, "The input_lengths")
    _within(lengths, 0, longest + 1, "The target_lengths")
    _within(targets, 0, classes, "The targets")


def _bags_in_range(arguments: Arguments) -> None:
    indices, offsets = arguments["indices"], arguments["offsets"]
    _within(indices, 0, arguments["weight"].shape[0], "The indices")
    _within(offsets, 0, indices.numel() + 1, "The offsets")
    is_rising = offsets.numel() > 0 and int(offsets[0]) == 0 and bool((offsets[1:] >= offsets[:-1]).all())
    if offsets.dim() != 1 or not is_rising:
        raise OpFailed("The offsets begin with 0 and never fall.", expected="[0, ...]", got=offsets.tolist()[:16])


def _samples_in_unit(arguments: Arguments) -> None:
    samples = arguments["random_samples"]
    if not bool(((samples >= 0) & (samples < 1)).all()):
        raise OpFailed("The random_samples lie in [0, 1).")


def _few_pieces(arguments: Arguments) -> None:
    sections = arguments["tensor_indices_or_sections"]
    count = int(sections) if sections.dim() == 0 else sections.numel()
    if count > MAX_ORDER**2:
        raise LimitExceeded("There would be too many pieces.", expected=MAX_ORDER**2, got=count)


VALUE_GUARDS: dict[str, Guard] = {
    **sequence_guards.VALUE_GUARDS,
    # LAPACK's geev without vectors segfaults on NaN and infinity; syev gives finite nonsense.
    "aten.linalg_eigvalsh.default": _finite("self"),
    "aten.linalg_eigvals.default": _finite("self"),
    "aten.det.default": _is_regular("self"),
    "aten.linalg_det.default": _is_regular("A"),
    "aten.polar.default": _has_positive_modulus,
    # A count of NaN is drawn for ever.
    "aten.binomial.default": _finite("count"),
    # Reflected at the border, a coordinate that is not finite becomes an index far outside.
    "aten.grid_sampler.default": _finite("grid"),
    "aten.grid_sampler_2d.default": _finite("grid"),
    "aten.grid_sampler_3d.default": _finite("grid"),
    "aten.lu_unpack.default": _pivots_in_range,
    "aten.linalg_ldl_solve.default": _pivots_pair,
    # LAPACK's gelss segfaults without a column; its shapes are known only when it runs.
    "aten.linalg_lstsq.default": _has_right_side,
    "aten.max_unpool2d.default": _indices_in_output,
    "aten.max_unpool3d.default": _indices_in_output,
    "aten.max_pool2d_with_indices_backward.default": _indices_in_input,
    "aten.ctc_loss.IntList": _targets_in_range,
    "aten.ctc_loss.Tensor": _targets_in_range,
    "aten.embedding_bag.default": _bags_in_range,
    "aten.embedding_bag.padding_idx": _bags_in_range,
    "aten.fractional_max_pool2d.default": _samples_in_unit,
    "aten.fractional_max_pool3d.default": _samples_in_unit,
    "aten.tensor_split.tensor_indices_or_sections": _few_pieces,
    **dict.fromkeys(
        [
            *("aten.div.Tensor_mode", "aten.div.Scalar_mode", "aten.divide.Tensor_mode", "aten.divide.Scalar_mode"),
            *("aten.floor_divide.default", "aten.floor_divide.Scalar", "aten.fmod.Tensor", "aten.fmod.Scalar"),
            *("aten.remainder.Tensor", "aten.remainder.Scalar", "aten.remainder.Scalar_Tensor"),
        ],
        _divisible,
    ),
}
