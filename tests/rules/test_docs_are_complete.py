"""The reference pages say what the code has, no more and no less."""

from __future__ import annotations

import re
from pathlib import Path

from pullback_schemas.problems import problem_classes
from pullback_service.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"


def rows(page: str) -> list[list[str]]:
    lines = (DOCS / page).read_text().splitlines()
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]


def test_every_problem_code_is_documented_with_its_status():
    documented = {code: int(status) for code, status, _ in rows("errors.md")}
    assert documented == {code: kind.status for code, kind in problem_classes().items()}


def test_every_setting_is_documented_with_its_default_and_meaning():
    documented = {name: (default, meaning) for name, default, meaning in rows("settings.md")}
    assert documented == {
        f"PULLBACK_{name.upper()}": ("one a core" if field.default_factory else str(field.default), field.description)
        for name, field in Settings.model_fields.items()
    }


def test_links_between_pages_lead_somewhere():
    for page in [*DOCS.glob("*.md"), DOCS.parent / "README.md"]:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_test_that_shows_a_claim_about_security_exists():
    named = re.findall(r"(tests/[a-z_/]+\.py)::(\w+)", (DOCS / "security.md").read_text())
    assert len(named) > 40
    for path, name in named:
        assert f"\ndef {name}(" in (DOCS.parent / path).read_text(), f"{path} has no {name}"


def test_every_claim_about_security_names_its_test():
    page = (DOCS / "security.md").read_text()
    for table in re.findall(r"^\| claim \| test \|\n\|---\|---\|\n((?:\|.*\n)+)", page, re.MULTILINE):
        for row in table.splitlines():
            assert re.search(r"\| tests/[a-z_/]+\.py::\w+ \|$", row), row
