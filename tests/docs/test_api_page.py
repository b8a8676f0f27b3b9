"""docs/api.md is what `make docs` writes."""

from __future__ import annotations

import runpy

from tests.docs.reading import ROOT


def test_the_api_page_is_what_the_openapi_document_says():
    generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    assert (ROOT / "docs" / "api.md").read_text() == generate["page"](), "run `make docs`"
