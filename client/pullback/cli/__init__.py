"""The command `pullback`."""

from pullback.cli.main import main

__all__ = ["main"]
