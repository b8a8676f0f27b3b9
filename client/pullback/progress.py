"""A bar in the terminal for answers that take long: the time that the service takes, then the bytes that have come."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

FIRST_S = 1.0
EVERY_S = 0.2


@contextmanager
def shown(label: str | None) -> Iterator[Callable[[httpx.Response], None]]:
    """Show a bar of this name if the block takes long; it is told the response when its head is there.

    Nothing is shown without a label, a terminal, or tqdm.
    """
    if label is None or not sys.stderr.isatty() or importlib.util.find_spec("tqdm") is None:
        yield lambda _: None
        return
    begun: list[httpx.Response] = []
    done = threading.Event()
    thread = threading.Thread(target=_show, args=(label, begun, done), daemon=True)
    thread.start()
    try:
        yield begun.append
    finally:
        done.set()
        thread.join()


def _show(label: str, begun: list[httpx.Response], done: threading.Event) -> None:
    if done.wait(FIRST_S):
        return
    from tqdm import tqdm

    with tqdm(desc=label, unit="B", unit_scale=True, leave=False) as bar:
        while not done.wait(EVERY_S):
            for response in begun:
                size = response.headers.get("content-length", "")
                bar.total = int(size) if size.isdecimal() else None
                bar.n = response.num_bytes_downloaded
            bar.refresh()
