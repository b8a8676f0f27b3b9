"""A long Jacobian shows in a terminal that it goes on, and nothing elsewhere."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

ASK = """
import sys
from pullback import AnswerError, Client

try:
    Client(sys.argv[1], max_retries=0).jacobian("y = x", {"x": [1]})
except AnswerError as error:
    print(error.status)
"""


@pytest.fixture
def slow() -> Iterator[tuple[str, threading.Event]]:
    """A server that answers when it is told to."""
    told = threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            told.wait(60)
            self.send_response(418)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Not into the tests' output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", told
    told.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_terminal_shows_a_bar_while_the_service_computes(slow):
    url, told = slow
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    with subprocess.Popen([sys.executable, "-c", ASK, url], stderr=theirs, stdout=subprocess.PIPE) as process:
        os.close(theirs)
        seen = b""
        while b"jacobian: " not in seen:
            seen += os.read(ours, 1024)
        told.set()
        assert process.communicate(timeout=60)[0] == b"418\n"
    os.close(ours)


def test_a_file_gets_no_bar(slow):
    url, told = slow
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", ASK, url], **pipes) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=3)
        told.set()
        assert process.communicate(timeout=60) == (b"418\n", b"")
