"""`python -m pullback_service`: serve, with the settings of the environment."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from socket import socket
from types import FrameType

import uvicorn
from pydantic import ValidationError
from typing_extensions import override

from pullback_service.app import create_app, create_workers
from pullback_service.http.connection import connection_class
from pullback_service.settings import Settings
from pullback_service.workers.base import AbstractWorkers

KEEP_ALIVE_S = 65
"""Longer than the idle time of common clients and proxies, so that it is they who close."""

CLIENTS = ("PULLBACK_BASE_URL", "PULLBACK_API_KEY")
"""What the client reads from the same environment."""

LAST_WORDS_S = 2
"""What is given up after the grace is told so; then connections are closed."""


def main() -> None:
    """Serve until told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        settings = Settings()
    except ValidationError as error:
        sys.exit("the settings in the environment do not fit:\n" + "\n".join(_told(error)))
    logging.getLogger("pullback").info("settings: %s", settings)
    _warn_of_unknown_settings(os.environ)
    if settings.workers * settings.torch_threads > (os.cpu_count() or 1):
        logging.getLogger("pullback").warning("there are more workers x threads than cores: each will be slower")
    _allow_many_connections()
    # uvicorn drains on SIGTERM and then raises it again, for whoever handled it before.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    workers = create_workers(settings)
    app = create_app(settings, workers)
    gc.freeze()  # what is loaded now stays; the collector need not walk it again
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=connection_class(settings.head_timeout_s),
        access_log=False,
        proxy_headers=False,  # http/head.py reads those, more cheaply
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=math.ceil(settings.grace_s) + LAST_WORDS_S,
    )
    server = DrainingServer(config, workers, settings)
    server.run()
    if not server.started:
        sys.exit(1)


def _told(error: ValidationError) -> list[str]:
    """What is wrong, a line a setting."""
    return [
        f"PULLBACK_{str(found['loc'][0]).upper()}={found['input']}: {found['msg']}" if found["loc"] else found["msg"]
        for found in error.errors()
        if found["type"] != "default_factory_not_called"
    ]


def _warn_of_unknown_settings(names: Iterable[str]) -> None:
    known = [f"PULLBACK_{name.upper()}" for name in Settings.model_fields]
    for name in names:
        if name.upper().startswith("PULLBACK_") and name.upper() not in (*known, *CLIENTS):
            close = get_close_matches(name.upper(), known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            logging.getLogger("pullback").warning("there is no setting %s%s", name, hint)


def _allow_many_connections() -> None:
    """As many descriptors as the system grants: idle connections are not to keep others out."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class DrainingServer(uvicorn.Server):
    """Told to end, it says first that it is not ready, then stops listening, then finishes what runs, for a while."""

    def __init__(self, config: uvicorn.Config, workers: AbstractWorkers, settings: Settings) -> None:
        super().__init__(config)
        self._workers = workers
        self._notice_s = settings.notice_s
        self._patience_s = settings.notice_s + settings.grace_s
        self._is_told = False

    @override
    async def serve(self, sockets: list[socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._is_told:  # twice is in earnest
            super().handle_exit(sig, frame)
            return
        self._is_told = True
        self._workers.drain()
        self._later(self._notice_s, super().handle_exit, sig, frame)
        self._later(self._patience_s, self._workers.give_up)

    def _later(self, seconds: float, act: Callable[..., None], *arguments: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.call_later, seconds, act, *arguments)


if __name__ == "__main__":
    main()
