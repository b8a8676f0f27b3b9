"""Every fenced block of the documentation is run, by a runner for its language, and says what is so."""

from __future__ import annotations

from shutil import copytree, ignore_patterns

import pytest
from tests.docs.answers import ANSWERS, run_graph, run_json, run_text
from tests.docs.configuration import run_dotenv, run_nginx, run_toml
from tests.docs.drawings import run_drawing, run_tree
from tests.docs.equations import run_equations
from tests.docs.foreign import run_foreign
from tests.docs.programs import run_python
from tests.docs.reading import PAGES, ROOT, Block, Reader, blocks
from tests.docs.shell import run_shell

from pullback import Client

RUNNERS = {
    "sh": run_shell,
    "json": run_json,
    "graph": run_graph,
    "text": run_text,
    "http": run_text,
    "python": run_python,
    "equations": run_equations,
    "tree": run_tree,
    "drawing": run_drawing,
    "toml": run_toml,
    "dotenv": run_dotenv,
    "nginx": run_nginx,
    "r": run_foreign,
    "julia": run_foreign,
    "matlab": run_foreign,
}
BLOCKS = {page: blocks(page) for page in PAGES}
NOT_COPIED = (".git", ".venv*", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info", "tests", "conformance")
WITH_BLOCKS = [page for page in PAGES if BLOCKS[page]]


@pytest.fixture
def reader(real_url, start_service, stop_service, tmp_path, monkeypatch):
    folder = copytree(ROOT, tmp_path / "repository", ignore=ignore_patterns(*NOT_COPIED))
    monkeypatch.chdir(folder)
    started = []

    def start(settings: dict[str, str]) -> str:
        names = {name.removeprefix("PULLBACK_"): value for name, value in settings.items()}
        process, url = start_service(WORKERS="1", **names)
        started.append(process)
        return url

    reader = Reader(real_url, folder, start, monkeypatch.setenv)
    yield reader
    for value in reader.values.values():
        if isinstance(value, Client):
            value.close()
    for process in started:
        stop_service(process)


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=[page.name for page in WITH_BLOCKS])
def test_every_block_of_a_page_is_run_and_says_what_is_so(page, reader):
    for block in BLOCKS[page]:
        try:
            run(block, reader)
        except Exception as error:
            error.add_note(f"in the block at {block}")
            raise


def run(block: Block, reader: Reader) -> None:
    assert block.language in RUNNERS, "nobody runs this language"
    if block.language not in ANSWERS:
        reader.said = None
    if block.language != "graph":
        reader.graph = None
    RUNNERS[block.language](block, reader)


MATLAB = """body = struct('graph', 'y = x * x', 'inputs', struct('x', [1 2]), 'grad_tensors', struct('y', [1 1]));
answer = webwrite('http://127.0.0.1:8000/v1/backward', body, options);
answer.gradients.x.data  % 2 5
"""
WRONG = {
    "no language": ("", "y = 2 x"),
    "an unknown command": ("sh", "unheard-of --option"),
    "an unknown target": ("sh", "make nothing-like-this"),
    "a refusal that is not shown": ("sh", """curl -s localhost:8000/v1/forward -d '{"graph": "y = rleu(x)"}'"""),
    "another answer": ("json", '{"y":[1,3]}'),
    "an answer without its end": ("json", '{"y":[1,'),
    "a graph that is none": ("graph", "y = rleu(x)"),
    "another value": ("python", "1 + 1  # 3"),
    "another product": ("equations", "[1, 2] @ [3, 4] = 12"),
    "a file that is not there": ("tree", "service/  the service\n    nobody.py  is here"),
    "a process that is not there": ("drawing", "HTTP --> pullback-nobody"),
    "another gradient": ("matlab", MATLAB),
}


@pytest.mark.parametrize(("language", "text"), WRONG.values(), ids=WRONG)
def test_a_block_that_says_what_is_not_so_fails(reader, language, text):
    reader.said = '{"y":[1,2]}' if language in ANSWERS else None
    with pytest.raises(AssertionError):
        run(Block(ROOT / "README.md", 1, language, text, ""), reader)
