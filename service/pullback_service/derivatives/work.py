"""What was done to get an answer, as its `meta` tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

from pullback_schemas.results import Mode, Path

__all__ = ["Mode", "Path", "Work"]


@dataclass(slots=True)
class Work:
    """How derivatives are computed; it grows while they are.

    `adjoint_error` is the relative difference of <w, Jv> and <J^T w, v> for random vectors, where it was measured.
    `unbatched` are the packets that do not take several vectors at once, `jacobian` is the part of it that went into
    Jacobians beside a gradient.
    """

    mode: Mode
    path: Path = "single"
    forward_count: int = 0
    backward_count: int = 0
    adjoint_error: float | None = None
    unbatched: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    jacobian: Work | None = None

    def part(self) -> Work:
        """Work on the Jacobians beside, to be joined."""
        return Work("reverse", unbatched=self.unbatched)

    def join(self, jacobian: Work) -> None:
        """Count that part in."""
        self.jacobian = jacobian
        self.forward_count += jacobian.forward_count
        self.backward_count += jacobian.backward_count
        self.adjoint_error = jacobian.adjoint_error
        for sentence in jacobian.notes:
            self.note(sentence)

    def took(self, path: Path) -> None:
        """A part took this path; the slowest one is told."""
        self.path = max(self.path, path, key=get_args(Path).index)

    def note(self, sentence: str) -> None:
        """Tell the caller something about the way that was taken, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)
