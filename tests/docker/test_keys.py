"""Keys: nobody comes in without one, and they change without a restart."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.docker.conftest import NAME
from tests.docker.stack import await_that, run

from pullback import AnswerError, Client

KEY = "a-key-for-tests-alone"
GRAPH, INPUTS = "y = (x * x).sum()", {"x": [1.0, 2.0, 3.0]}


def new_key() -> tuple[str, str]:
    """A key, and the table for the file of keys."""
    command = [sys.executable, "-m", "pullback_service.access", "alice"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stderr.strip().rpartition(" ")[2], done.stdout


def is_let_in(url: str, key: str | None) -> bool:
    """Whether a key, or none, gives an answer; else it must be told what is missing."""
    with Client(url, api_key=key, max_retries=0) as client:
        try:
            answer = client.backward(GRAPH, INPUTS)
        except AnswerError as error:
            refusal = error
        else:
            return answer.gradients["x"].tolist() == [2.0, 4.0, 6.0]
    assert (refusal.status, refusal.code) == (401, "unauthorized")
    return False


def test_the_image_does_not_listen_for_others_without_a_key(image):
    done = run("docker", "run", "--rm", "--name", f"{NAME}-open", image)
    assert done.returncode == 1
    assert "no key is set" in done.stderr


def test_a_key_in_a_variable_closes_one_container(run_image, url_of):
    url = url_of(run_image("--env", f"PULLBACK_API_KEY={KEY}"))
    assert not is_let_in(url, None)
    assert not is_let_in(url, f"{KEY}-not")
    assert is_let_in(url, KEY)


def test_an_address_that_others_reach_is_not_served_without_a_key(start_stack):
    with pytest.raises(AssertionError):
        start_stack("published", PULLBACK_PUBLISH_ADDRESS="127.0.0.1")


def test_a_key_in_the_environment_closes_what_compose_starts(start_stack):
    stack = start_stack("key", PULLBACK_API_KEY=KEY)
    assert not is_let_in(stack.url, None)
    assert is_let_in(stack.url, KEY)
    lines = [*stack.logs("cpu"), *stack.logs("nginx")]
    assert any('"key":"default"' in line for line in lines)
    assert not any(KEY in line for line in lines)


def test_keys_in_a_mounted_file_are_replaced_without_a_restart(start_stack, tmp_path):
    tmp_path.chmod(0o755)
    file, draft = tmp_path / "keys.toml", tmp_path / "draft"
    old, table = new_key()
    file.write_text(table)
    stack = start_stack("file", PULLBACK_API_KEYS_FILE="/etc/pullback/keys.toml", PULLBACK_KEYS_FOLDER=str(tmp_path))
    assert is_let_in(stack.url, old)
    new, table = new_key()
    assert not is_let_in(stack.url, new)
    draft.write_text(table)
    draft.replace(file)  # as editors do it
    await_that(lambda: is_let_in(stack.url, new), "the new key is known")
    assert not is_let_in(stack.url, old)
    assert not is_let_in(stack.url, None)
