"""A tape for many questions at once: what torch calls under vmap, which is most of its cost to find out anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.func import vmap

from pullback_service.derivatives.recording import NotRepeatable, Recorder, Tape


class Wide:
    """A tape along one leading axis of any length, told from what vmap calls for two lengths.

    Args:
        tape: what is called for one question.
        arguments: those for several questions.
        axes: for each argument, 0 if it has the leading axis, or None.

    Raises NotRepeatable.

    """

    def __init__(self, tape: Tape, arguments: Sequence[Tensor], axes: Sequence[int | None]) -> None:
        self._tape, longer, longest = (_record(tape, arguments, axes, count) for count in (2, 3, 5))
        if any((self._tape.calls, self._tape.results) != (other.calls, other.results) for other in (longer, longest)):
            raise NotRepeatable("other calls are made for other lengths")
        pairs = zip(self._tape.literals, longer.literals, strict=True)
        self._sizes = {index: pair for index, pair in enumerate(pairs) if pair[0] != pair[1]}
        if self._literals(5) != longest.literals:
            raise NotRepeatable("a length grows unevenly")

    def run(self, arguments: Sequence[Tensor], count: int) -> list[Tensor | None]:
        """The results for so many questions, along one leading axis."""
        return self._tape.run(arguments, self._literals(count) if self._sizes else None)

    def _literals(self, count: int) -> list[Any]:
        literals = list(self._tape.literals)
        for index, (two, three) in self._sizes.items():
            literals[index] = _at(two, three, count)
        return literals


def _record(tape: Tape, arguments: Sequence[Tensor], axes: Sequence[int | None], count: int) -> Tape:
    some = [tensor if axis is None else tensor[[0] * count] for tensor, axis in zip(arguments, axes, strict=True)]
    known = [index for index, slot in enumerate(tape.results) if slot is not None]

    def run(*one: Tensor) -> list[Tensor]:
        results = tape.run(one)
        return [result for index in known if (result := results[index]) is not None]

    results: list[Tensor | None] = [None] * len(tape.results)
    with (recorder := Recorder(some)):
        for index, column in zip(known, vmap(run, in_dims=tuple(axes))(*some), strict=True):
            results[index] = column
    return recorder.tape(results)


def _at(two: Any, three: Any, count: int) -> Any:
    """The literal for a length, if it grows evenly with it."""
    if isinstance(two, list) and isinstance(three, list) and len(two) == len(three):
        return [_at(a, b, count) for a, b in zip(two, three, strict=True)]
    if type(two) is int and type(three) is int:
        return two + (three - two) * (count - 2)
    if two != three:
        raise NotRepeatable(f"{two} becomes {three} for another length")
    return two
