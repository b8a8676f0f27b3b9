"""The command `pullback` against a real service: what it prints, writes, and exits with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pullback.cli import main

X = np.array([-1.5, 0.0, 2.0])


@pytest.fixture(autouse=True)
def here(real_url, tmp_path, monkeypatch):
    monkeypatch.setenv("PULLBACK_BASE_URL", real_url)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def said(capsys):
    """`said("forward", ...)`: the status and what was printed, to either side."""

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def test_the_first_example_writes_gradients_into_a_file(said):
    np.save("x.npy", X)
    status, out, _ = said("backward", "y = relu(x)", "-i", "x=x.npy", "-g", "y=ones", "-o", "grads.npz")
    assert (status, out) == (0, "")
    with np.load("grads.npz") as found:
        assert found["gradients/x"].tolist() == [0.0, 0.0, 1.0]
        assert found["outputs/y"].tolist() == [0.0, 0.0, 2.0]


def test_a_person_reads_arrays_under_their_names(said):
    status, out, _ = said("backward", "y = x * x", "-i", "x=1,2", "-g", "y=[1,1]", "--jacobian")
    assert status == 0
    assert "gradients.x  float64[2]\n[2. 4.]" in out
    assert "jacobians.y.x  float64[2, 2]" in out


def test_a_program_reads_strict_json(said):
    graph = "y = x.float() / 3; z = x.log(); w = x.sqrt() * 1j; return y, z, w"
    status, out, _ = said("forward", graph, "-i", "x=[1,0]", "--json")
    outputs = json.loads(out, parse_constant=pytest.fail)["outputs"]
    assert status == 0
    assert outputs["y"] == {"dtype": "float32", "shape": [2], "data": [0.33333334, 0.0]}
    assert outputs["z"]["data"] == [0.0, "-Infinity"]
    assert outputs["w"]["data"] == [[0.0, 1.0], [0.0, 0.0]]


OPERATIONS = {
    "jvp": (["-t", "x=1,0"], "jvp.y  float64[2]\n[3. 0.]"),
    "jacobian": (["--mode", "forward", "--wrt", "x"], "jacobians.y.x  float64[2, 2]"),
    "hvp": (["-v", "x=ones", "-g", "y=ones"], "hvp.x  float64[2]\n[ 6. 12.]"),
    "hessian": (["-g", "y=ones"], "hessian.x.x  float64[2, 2]"),
    "gradcheck": (["--method", "central"], "passed  True"),
}


@pytest.mark.parametrize(("operation", "rest", "shown"), [(k, *v) for k, v in OPERATIONS.items()], ids=OPERATIONS)
def test_every_operation_is_a_command(said, operation, rest, shown):
    status, out, err = said(operation, "y = x ** 3", "-i", "x=1,2", *rest)
    assert status == 0, err
    assert shown in out


def test_a_wrong_gradient_is_a_status_of_its_own(said):
    status, out, _ = said("gradcheck", "y = x * x.detach()", "-i", "x=1,2")
    assert status == 1
    assert "passed  False" in out


def test_inputs_come_from_one_file_and_the_answer_goes_to_json(said):
    np.savez("data.npz", x=X, w=np.ones(3))
    assert said("forward", "y = (x * w).sum()", "-i", "data.npz", "-o", "out.json")[0] == 0
    assert json.loads(Path("out.json").read_text())["outputs"]["y"]["data"] == 0.5


def test_a_graph_comes_from_a_file_in_either_form(said):
    Path("graph.txt").write_text("y = x * 2\n")
    Path("graph.json").write_text('{"nodes": [{"id": "y", "op": "mul", "args": ["$x", 2]}]}')
    for name in ("graph.txt", "graph.json"):
        assert "[2. 4.]" in said("forward", f"@{name}", "-i", "x=1,2")[1]


def test_a_graph_comes_from_the_standard_input(said, monkeypatch):
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO("y = x * 2"))
    assert "[2. 4.]" in said("forward", "-", "-i", "x=1,2")[1]


def test_check_tells_types_without_running(said):
    status, out, _ = said("check", "y = relu(x @ w)", "-i", "x=[[1,2]]", "-i", "w=[[1],[2]]")
    assert status == 0
    assert "input x  float64[1, 2]" in out
    assert "output y  float64[1, 1]  has a gradient" in out


def test_the_catalogue_is_listed_searched_and_told_of(said):
    assert "relu  " in said("ops")[1]
    found = said("ops", "cholesk")[1]
    assert "linalg_cholesky" in found
    assert "relu" not in found
    assert json.loads(said("ops", "linalg.solve", "--json")[1])["name"] == "linalg_solve"
    assert said("ops", "no-such-thing")[0] == 1


def test_health_is_told(said):
    status, out, _ = said("health", "--json")
    assert (status, json.loads(out)["status"]) == (0, "ok")


def test_a_refusal_shows_the_place_and_is_status_1(said):
    status, _, err = said("forward", "y = rleu(x)", "-i", "x=1")
    assert status == 1
    assert err.startswith("pullback: unknown_op:")
    assert "^" in err
    status, _, err = said("forward", "y = rleu(x)", "-i", "x=1", "--json")
    assert (status, json.loads(err)["code"]) == (1, "unknown_op")


MISTAKES = {
    "a file that is not there": ["forward", "y = x", "-i", "x=gone.npy"],
    "a value that is none": ["forward", "y = x", "-i", "x=a b"],
    "no name": ["forward", "y = x", "-i", "1,2"],
    "a graph that is not there": ["forward", "@gone.json"],
    "a graph that is not JSON": ["forward", "{nodes"],
    "an output of no known kind": ["forward", "y = x", "-i", "x=1", "-o", "out.txt"],
    "ones of no known shape": ["forward", "y = x", "-i", "x=ones"],
    "ones for no output": ["backward", "y = x", "-i", "x=1", "-g", "z=ones"],
}


@pytest.mark.parametrize("arguments", MISTAKES.values(), ids=MISTAKES)
def test_a_command_line_that_cannot_be_read_is_status_2(said, arguments):
    status, _, err = said(*arguments)
    assert status == 2
    assert err.startswith("pullback: ")


@pytest.mark.parametrize("arguments", [[], ["backwards"], ["forward", "y = x", "--timeout", "0"]])
def test_so_is_one_that_does_not_parse(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_no_answer_is_status_3(said, monkeypatch):
    status, _, err = said("health", "--url", "http://127.0.0.1:1")
    assert status == 3
    assert "no answer" in err


@pytest.mark.parametrize("command", ["", "backward", "check", "ops", "serve"])
def test_help_shows_examples(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*command.split(), "--help"])
    assert caught.value.code == 0
    assert 'pullback backward "y = relu(x)"' in capsys.readouterr().out


def test_the_service_can_be_run_from_here():
    command = [str(Path(sys.executable).with_name("pullback")), "serve", "--port", "0"]
    environment = {**os.environ, "PULLBACK_WORKERS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        assert any("running on http://" in line for line in process.stderr)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


@pytest.mark.parametrize(
    "arguments",
    [
        ("forward", "y = x", "-i", "x=empty.npy"),
        ("forward", "y = x", "-i", "empty.npz"),
        ("forward", "y = x", "-i", "odd.npz"),
        ("forward", "@latin.txt", "-i", "x=1"),
        ("forward", "y = x", "-i", "x=1", "-o", "there/is/none.npz"),
        ("forward", "y = x", "-i", "x=1", "-o", "what.txt"),
        ("forward", "y = x", "-i", "x=1", "--timeout", "inf"),
    ],
    ids=lambda arguments: arguments[-1],
)
def test_files_and_times_that_cannot_be_are_status_2_in_one_line(said, arguments):
    for name in ("empty.npy", "empty.npz"):
        Path(name).touch()
    np.savez("odd.npz", x=np.array([{}], dtype=object))
    Path("latin.txt").write_bytes("y = x  # é".encode("latin-1"))
    status, _, told = said(*arguments)
    assert status == 2
    assert told.startswith("pullback: ")
    assert "Traceback" not in told
