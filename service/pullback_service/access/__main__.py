"""`python -m pullback_service.access NAME`: a new key, and what is to stand of it in the file of keys."""

from __future__ import annotations

import secrets
import sys
from hashlib import sha256

from pydantic import TypeAdapter, ValidationError

from pullback_service.access.keys import Name


def main(arguments: list[str]) -> None:
    """Print both; the key itself is kept nowhere."""
    try:
        (name,) = arguments
        TypeAdapter(Name).validate_python(name)
    except (ValueError, ValidationError):
        sys.exit("usage: python -m pullback_service.access NAME (letters, digits and _.-, at most 64)")
    key = f"pb_{secrets.token_urlsafe(32)}"
    print(f"# {name}'s key, shown only now: {key}", file=sys.stderr)
    print(f'[keys.{_quoted(name)}]\nsha256 = "{sha256(key.encode()).hexdigest()}"')


def _quoted(name: str) -> str:
    """A dot would be a table in a table."""
    return f'"{name}"' if "." in name else name


if __name__ == "__main__":
    main(sys.argv[1:])
