"""Docker: commands are read, and whatever they name must exist. tests/docker runs them, in a real engine."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import yaml
from tests.docs.reading import ROOT, Reader

from pullback_service.settings import Settings

OF_ONE_SERVICE = ("run", "exec")
"""What compose does with one service: the words behind its name are a command inside."""


def run_docker(command: str, words: list[str], settings: dict[str, str], reader: Reader) -> None:
    """Services, profiles, build arguments, images and settings have these names."""
    COMMANDS[words[1]](words[2:], reader)


def compose(words: list[str], reader: Reader) -> None:
    file = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    for profile in values_of("--profile", words):
        assert profile in {name for service in file["services"].values() for name in service.get("profiles", ())}
    doing, *names = plain(words, ("--profile",))
    for name in names[:1] if doing in OF_ONE_SERVICE else names:
        assert name in file["services"], f"no service is called {name}"


def build(words: list[str], reader: Reader) -> None:
    arguments = re.findall(r"^ARG (\w+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    for argument in values_of("--build-arg", words):
        assert argument.partition("=")[0] in arguments, f"the Dockerfile has no argument {argument}"
    assert (ROOT / words[-1] / "Dockerfile").exists()
    reader.images.update(values_of("--tag", words))


def run(words: list[str], reader: Reader) -> None:
    for variable in values_of("--env", words):
        assert_variable(variable.partition("=")[0])
    assert words[-1] in reader.images, f"{words[-1]} has not been built"


COMMANDS: dict[str, Any] = {"compose": compose, "build": build, "run": run}


def values_of(option: str, words: list[str]) -> list[str]:
    return [value for name, value in pairwise(words) if name == option]


def plain(words: list[str], with_value: tuple[str, ...]) -> list[str]:
    """The words that are neither options nor their values."""
    before = ["", *words]
    return [
        word for last, word in zip(before, words, strict=False) if not word.startswith("-") and last not in with_value
    ]


def assert_variable(name: str) -> None:
    """A setting, or a variable of the compose file."""
    is_setting = name.removeprefix("PULLBACK_").lower() in Settings.model_fields
    assert is_setting or re.search(rf"^#? ?{name}=", (ROOT / ".env.example").read_text(), re.MULTILINE), name
