"""The image, the compose file and the example of its variables know every setting, and the same defaults."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pullback_service
from pullback_service.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
DEFAULTS = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", COMPOSE))
FIXED = {"PULLBACK_HOST", "PULLBACK_PORT"}
"""Within the container; outside, PULLBACK_PUBLISH_ADDRESS and PULLBACK_PUBLISH_PORT."""


def settings() -> set[str]:
    return {f"PULLBACK_{name.upper()}" for name in Settings.model_fields} - FIXED


def test_every_setting_is_passed_on_by_compose():
    passed = set(re.findall(r"^    (PULLBACK_\w+):", COMPOSE, re.MULTILINE))
    named = re.findall(r"^(PULLBACK_\w+)=", (ROOT / "deploy/anonymous.env").read_text(), re.MULTILINE)
    assert settings() <= passed | {*named}


def test_every_variable_stands_in_the_example_below_what_it_does():
    lines = EXAMPLE.splitlines()
    told: set[str] = set()
    for before, line in pairwise(lines):
        if found := re.match(r"#([A-Z][A-Z_]+)=", line):
            assert before.startswith("# "), f"nothing tells what {found[1]} does"
            told.add(found[1])
    known = {
        *re.findall(r"\$\{([A-Z_]+)", COMPOSE),
        *re.findall(r"^    ((?:PULLBACK|OTEL)_\w+):", COMPOSE, re.MULTILINE),
    }
    assert told >= settings() | known
    assert told <= settings() | known | {"PULLBACK_ANONYMOUS"}


def test_the_example_shows_the_defaults_of_compose():
    shown = dict(re.findall(r"^#([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE))
    assert {name: shown[name] for name in DEFAULTS} == DEFAULTS


def test_the_example_shows_the_defaults_of_the_service_where_compose_has_none():
    shown = dict(re.findall(r"^#PULLBACK_([A-Z_]+)=(.+)$", EXAMPLE, re.MULTILINE))
    of_compose = {name.removeprefix("PULLBACK_") for name in DEFAULTS}
    for name, field in Settings.model_fields.items():
        if (value := shown.get(name.upper())) and name.upper() not in of_compose and field.default is not None:
            assert value == str(field.default).removesuffix(".0").replace("False", "false"), name


def test_nginx_has_the_limits_of_the_service_by_default():
    fields = Settings.model_fields
    for name in ("DEADLINE_S", "HEAD_TIMEOUT_S", "MAX_BODY_BYTES"):
        assert float(DEFAULTS[f"PULLBACK_{name}"]) == fields[name.lower()].default


def test_containers_are_given_longer_to_stop_than_the_service_takes():
    fields = Settings.model_fields
    patience = int(DEFAULTS["PULLBACK_STOP_GRACE_PERIOD"].removesuffix("s"))
    assert patience > fields["grace_s"].default + fields["notice_s"].default + 5


def test_the_image_has_the_version_of_the_service():
    dockerfile = (ROOT / "Dockerfile").read_text()
    [version] = re.findall(r'org\.opencontainers\.image\.version="([^"]+)"', dockerfile)
    assert version == pullback_service.__version__
