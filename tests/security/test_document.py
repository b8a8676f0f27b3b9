"""The real service, asked what its own OpenAPI document promises, by schemathesis."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
]
"""All but those that ask for more than a schema can tell: a body that fits it may hold a graph that makes no sense."""

CHOICES = [
    *("--seed", "1", "--generation-deterministic", "--max-examples", "8"),
    *("--phases", "examples,coverage,fuzzing", "--continue-on-failure", "--suppress-health-check", "all"),
    *("--warnings", "off", "--request-timeout", "30"),
    *("--header", "Pullback-Timeout: 30"),  # with one of its own making, a 503 or 504 would be right
]
AT_LEAST = 1000


def test_whatever_is_asked_the_answer_is_as_documented_and_never_a_failure_of_the_service(real_url, tmp_path):
    program = Path(sys.executable).with_name("schemathesis")
    asked = subprocess.run(
        [program, "--no-color", "run", f"{real_url}/openapi.json", "--checks", ",".join(CHECKS), *CHOICES],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert asked.returncode == 0, asked.stdout + asked.stderr
    count = next(line for line in asked.stdout.splitlines() if "generated" in line).split()[0]
    assert int(count) > AT_LEAST
