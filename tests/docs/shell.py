"""Shell: each command of a block has a rule by the program that it calls, which says what is really run."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from tests.docs.answers import ANSWERS
from tests.docs.containers import run_docker
from tests.docs.reading import Block, Reader

from pullback.cli.parser import parser

PYTHON = ".venv/bin/python"
PYTHON_IN_COMMAND = re.compile(r"(?<![\w/.])(\.venv/bin/)?python(?= -m )")
ASSIGNMENT = re.compile(r"^([A-Z_]+)=(.*)$", re.DOTALL)
PROBLEM = '"type":"urn:pullback:problem:'

NOT_RUN = {"git pull": "a test has no remote repository"}
"""The commands that are only read, each with the reason."""


MODEL = {
    "nodes": [
        {"id": "h", "op": "nn.functional.linear", "args": ["$x", "$w", "$b"]},
        {"id": "loss", "op": "sum", "args": ["$h"]},
    ]
}


def run_shell(block: Block, reader: Reader) -> None:
    """Each command of the block, one after the other."""
    found = list(commands(block.text))
    for index, command in enumerate(found):
        if command in NOT_RUN:
            continue
        words = shlex.split(command, comments=True)
        settings = dict(one.groups() for one in assignments(words))
        words = words[len(settings) :]
        assert words[0] in RULES, f"nobody runs {words[0]}"
        RULES[words[0]](command, words, settings, reader)
        is_last = index == len(found) - 1
        if reader.said and PROBLEM in reader.said:
            assert is_last, f"{command} is refused: {reader.said}"
            assert block.following in ANSWERS, f"{command} is refused and the page does not say so: {reader.said}"


def commands(text: str) -> Iterator[str]:
    """A command goes on while a quotation is open or a backslash ends the line."""
    command = ""
    for line in text.splitlines():
        command += line
        if is_whole(command):
            if shlex.split(command, comments=True):
                yield command
            command = ""
        else:
            command += "\n"
    assert not command, f"{command} does not end"


def is_whole(command: str) -> bool:
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return False
    return not command.endswith("\\")


def assignments(words: list[str]) -> Iterator[re.Match[str]]:
    """Those before the program."""
    for word in words:
        found = ASSIGNMENT.match(word)
        if not found:
            return
        yield found


def bash(command: str, reader: Reader) -> str:
    command = PYTHON_IN_COMMAND.sub(shlex.quote(sys.executable), reader.here(command))
    done = subprocess.run(
        ["bash", "-c", command], cwd=reader.folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def run_curl(command: str, words: list[str], settings: dict[str, str], reader: Reader) -> None:
    """Run against the real service."""
    assert reader.here(command) != command, f"{command} asks somebody else"
    reader.said = bash(command, reader)


def run_client(command: str, words: list[str], settings: dict[str, str], reader: Reader) -> None:
    """`pullback` is run against the real service, but `pullback serve` only read."""
    if words[1] == "serve":
        parser().parse_args(words[1:])
        return
    make_files(reader.folder)
    reader.set_variable("PULLBACK_BASE_URL", reader.url)
    reader.said = bash(str(Path(sys.executable).with_name("pullback")) + command.removeprefix("pullback"), reader)


def make_files(folder: Path) -> None:
    """The files that the page's commands read."""
    x, w, b = np.ones((2, 3)), np.ones((3, 3)), np.ones(3)
    np.save(folder / "x.npy", x)
    np.save(folder / "w.npy", w)
    np.savez(folder / "batch.npz", x=x, w=w, b=b)
    (folder / "model.json").write_text(json.dumps(MODEL))


def run_make(command: str, words: list[str], settings: dict[str, str], reader: Reader) -> None:
    """The targets exist, and make knows how to reach them. `make serve` with settings starts such a service."""
    bash(f"make --dry-run {shlex.join(words[1:])}", reader)
    if words[1] == "serve" and settings:
        reader.url = reader.start_service(settings)


def run_python(command: str, words: list[str], settings: dict[str, str], reader: Reader) -> None:
    """The command for a new key is run; of any other module the options are those of its help."""
    assert words[1] == "-m"
    if words[2] == "pullback_service.access":
        bash(command, reader)
        return
    variables = [f"{name}={value}" for name, value in settings.items()]
    told = bash(shlex.join(["env", *variables, PYTHON, "-m", words[2], "--help"]), reader)
    for option in words[3:]:
        assert option in told or not option.startswith("-"), f"{words[2]} has no option {option}"


def run_export(command: str, words: list[str], settings: dict[str, str], reader: Reader) -> None:
    """A variable that holds for the rest of the page, in the shell and in Python."""
    name = words[1].partition("=")[0]
    reader.set_variable(name, bash(f'{command}\nprintf %s "${name}"', reader))


RULES: dict[str, Callable[[str, list[str], dict[str, str], Reader], None]] = {
    "curl": run_curl,
    "pullback": run_client,
    "make": run_make,
    PYTHON: run_python,
    "python": run_python,
    "export": run_export,
    "docker": run_docker,
}
