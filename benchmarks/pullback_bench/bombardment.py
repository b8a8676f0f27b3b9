"""Large requests one after the other from a process of their own, so that the clients beside it do not feel them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe

from pullback_bench.case import case
from pullback_bench.clients import Connection, Unanswered, require_right
from pullback_bench.forms import pullback_safetensors


@dataclass
class Bombardment:
    """How many large requests were answered, once it is over."""

    answered: int = 0


@contextmanager
def bombarded(port: int, n: int) -> Iterator[Bombardment]:
    """All the while a request with `n` numbers twice, and as many in its answer, is worked on."""
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=_bombard, args=(port, n, theirs), daemon=True)
    process.start()
    theirs.close()
    found = Bombardment()
    try:
        _await_word(pipe)
        yield found
        pipe.send("stop")
        found.answered = _await_word(pipe)
    finally:
        pipe.close()
        process.join()


def _await_word(pipe: Pipe) -> int:
    word = pipe.recv()
    if isinstance(word, int):
        return word
    raise Unanswered(f"asked for 100 MB, {word}")


def _bombard(port: int, n: int, pipe: Pipe) -> None:
    """Tell when the first right answer has come, then go on until told to stop, and tell how many more came."""
    exchange = pullback_safetensors(case(n))
    raw, answered = exchange.raw(), 0
    try:
        with Connection(port) as connection:
            require_right(exchange, bytes(connection.exchange(raw)))
            pipe.send(answered)
            while not pipe.poll():
                connection.exchange(raw)
                answered += 1
        pipe.send(answered)
    except Unanswered as failure:
        pipe.send(str(failure))
