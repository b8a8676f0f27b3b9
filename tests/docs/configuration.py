"""Files of configuration: keys are read by whoever reads them in earnest, variables and directives have known names."""

from __future__ import annotations

import re

from tests.docs.containers import assert_variable
from tests.docs.reading import Block, Reader

from pullback_service.access.keys import Keys
from pullback_service.settings import Settings

DIRECTIVE = re.compile(r"\s*(#.*|\w[^;{}]*;|\w[^;{}]*\{|\})\s*")


def run_toml(block: Block, reader: Reader) -> None:
    """A file of keys."""
    path = reader.folder / "documented-keys.toml"
    path.write_text(block.text)
    assert Keys(Settings(api_keys_file=str(path))).are_needed


def run_dotenv(block: Block, reader: Reader) -> None:
    """Variables of the environment."""
    for line in block.text.splitlines():
        assert_variable(line.partition("=")[0])


def run_nginx(block: Block, reader: Reader) -> None:
    """Directives and blocks, as nginx would read them; tests/docker has nginx read them."""
    depth = 0
    for line in filter(str.strip, block.text.splitlines()):
        assert DIRECTIVE.fullmatch(line), f"{line} is no directive"
        depth += line.count("{") - line.count("}")
        assert depth >= 0
    assert depth == 0
