"""Every command in README and docs works as printed, and answers what is printed below it."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from pathlib import Path

import httpx
import pytest

from pullback import Client

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
DEFAULT_URL = "localhost:8000"


def commands() -> list[tuple[str, str, str]]:
    """Each curl of the documentation: where it stands, the command, and the JSON printed below it."""
    found = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        blocks = BLOCK.findall(page.read_text())
        for index, (language, text) in enumerate(blocks):
            following = blocks[index + 1] if index + 1 < len(blocks) else ("", "")
            for number, command in enumerate(re.findall(r"^curl .*?(?=^curl |\Z)", text, re.DOTALL | re.MULTILINE)):
                if language == "sh":
                    shown = following[1] if following[0] == "json" and "..." in following[1] else ""
                    found.append((f"{page.name}-{index}-{number}", command, shown))
    return found


@pytest.mark.parametrize(("command", "shown"), [c[1:] for c in commands()], ids=[c[0] for c in commands()])
def test_a_printed_command_answers_what_is_printed(real_url, command, shown):
    assert DEFAULT_URL in command
    command = command.replace(DEFAULT_URL, real_url.removeprefix("http://"))
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    answer = json.loads(done.stdout)
    is_refusal = '"code"' in shown
    assert ("code" in answer) == is_refusal, done.stdout
    for fragment in re.sub(r"\n\s*", "", shown).split("..."):
        assert fragment.strip("{, }") in done.stdout


def graphs() -> list[tuple[str, str]]:
    """Each graph that stands in the documentation in its JSON form."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    blocks = [(page.name, text) for page in pages for language, text in BLOCK.findall(page.read_text())]
    return [(name, text) for name, text in blocks if text.startswith('{"inputs"') and '"nodes"' in text]


@pytest.mark.parametrize(("page", "graph"), graphs(), ids=[page for page, _ in graphs()])
def test_a_printed_graph_is_one(real_url, page, graph):
    response = httpx.post(f"{real_url}/v1/check", json={"graph": json.loads(graph)})
    assert response.status_code == 200, response.text


def programs() -> list[tuple[str, str]]:
    """The Python of each page that begins with the client, its blocks one after the other."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = [
        (page.name, [text for kind, text in BLOCK.findall(page.read_text()) if kind == "python"]) for page in pages
    ]
    return [(name, "".join(blocks)) for name, blocks in found if any("import Client" in text for text in blocks)]


@pytest.mark.parametrize(("page", "program"), programs(), ids=[page for page, _ in programs()])
def test_printed_python_gives_what_stands_beside_it(real_url, page, program):
    program = program.replace(f"http://{DEFAULT_URL.replace('localhost', '127.0.0.1')}", real_url)
    lines, values = program.splitlines(), {}
    for statement in ast.parse(program).body:
        _, hash_, shown = lines[statement.end_lineno - 1][statement.end_col_offset :].partition("  # ")
        if isinstance(statement, ast.Expr) and hash_:
            assert repr(eval(ast.unparse(statement.value), values)) == shown
        else:
            exec(compile(ast.Module([statement], []), page, "exec"), values)
    for value in values.values():
        if isinstance(value, Client):
            value.close()


def test_the_documentation_prints_commands():
    assert len(commands()) >= 6
