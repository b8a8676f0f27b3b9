"""What an answer may take."""

from __future__ import annotations

from pullback_schemas.problems import LimitExceeded


def check_size(size: int, max_bytes: int, hint: str) -> None:
    """Raise LimitExceeded for an answer of too many bytes."""
    if size > max_bytes:
        raise LimitExceeded(
            f"The answer has {size:,} bytes; the limit is {max_bytes:,}.", expected=max_bytes, got=size, hint=hint
        )
