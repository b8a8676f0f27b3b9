"""Files of configuration are read by whoever reads them in earnest."""

from __future__ import annotations

from tests.docs.reading import Block, Reader

from pullback_service.access.keys import Keys
from pullback_service.settings import Settings


def run_toml(block: Block, reader: Reader) -> None:
    """A file of keys."""
    path = reader.folder / "documented-keys.toml"
    path.write_text(block.text)
    assert Keys(Settings(api_keys_file=str(path))).are_needed
