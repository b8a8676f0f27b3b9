"""`python -m pullback_service`: serve, with the settings of the environment."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from difflib import get_close_matches
from ipaddress import ip_address
from types import FrameType

import uvicorn
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from typing_extensions import override

from pullback_service.access.keys import BadKeysError
from pullback_service.app import create_app, create_workers
from pullback_service.http.connection import connection_class
from pullback_service.settings import Settings
from pullback_service.telemetry.logs import configure_logging
from pullback_service.telemetry.traces import TracingUnavailable
from pullback_service.workers.base import AbstractWorkers

CLIENTS = ("PULLBACK_BASE_URL",)
"""What the client alone reads from the same environment."""

SECRET = ("api_key",)

CLOSED = (
    "PULLBACK_HOST={host} lets in whoever reaches this machine, and no key is set.\n"
    "Set PULLBACK_API_KEY or PULLBACK_API_KEYS_FILE, or PULLBACK_ANONYMOUS=anywhere if everybody may compute here."
)

YOUNG_OBJECTS = 20_000
"""How many more there are when the collector looks for circles. Python's own 700 would cost 7 % of a small request."""

OTHER_DESCRIPTORS = 512
"""What workers, large bodies and refused connections take."""

LAST_WORDS_S = 2
"""What is given up after the grace is told so; then connections are closed."""


def main() -> None:
    """Serve until told to stop."""
    try:
        settings = Settings()
    except ValidationError as error:
        sys.exit("the settings in the environment do not fit:\n" + "\n".join(_told(error)))
    if not may_listen(settings):
        sys.exit(CLOSED.format(host=settings.host))
    configure_logging(settings, in_background=True)
    logging.getLogger("pullback").info("settings: %s", settings)
    _warn_of_unknown_settings(os.environ)
    if settings.workers * settings.torch_threads > (os.cpu_count() or 1):
        logging.getLogger("pullback").warning("there are more workers x threads than cores: each will be slower")
    _allow_many_connections(settings.max_connections)
    # uvicorn drains on SIGTERM and then raises it again, for whoever handled it before.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    workers = create_workers(settings)
    try:
        app = create_app(settings, workers)
    except (BadKeysError, TracingUnavailable) as error:
        sys.exit(str(error))
    gc.freeze()  # what is loaded now stays; the collector need not walk it again
    gc.set_threshold(YOUNG_OBJECTS)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=connection_class(settings, app.reporters),
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # http/head.py reads those, more cheaply
        server_header=False,
        timeout_graceful_shutdown=math.ceil(settings.grace_s) + LAST_WORDS_S,
    )
    server = DrainingServer(config, workers, settings)
    with suppress(SystemExit):  # uvicorn ends so where it cannot listen, which it has told
        server.run()
    if not server.started:
        sys.exit(
            f"This service cannot be reached at {settings.host}:{settings.port}, for the reason told above. If another "
            "program has that address, choose another one with PULLBACK_PORT, or make serve PORT=8001."
        )


def _told(error: ValidationError) -> list[str]:
    """What is wrong, a line a setting."""
    return [
        f"PULLBACK_{str(found['loc'][0]).upper()}{_value(found)}: {found['msg']}" if found["loc"] else found["msg"]
        for found in error.errors()
        if found["type"] != "default_factory_not_called"
    ]


def _value(found: ErrorDetails) -> str:
    return "" if found["loc"][0] in SECRET else f"={found['input']}"


def may_listen(settings: Settings) -> bool:
    """Whether nobody but this machine is let in without a key, or it is known that they are."""
    if settings.api_key is not None or settings.api_keys_file is not None or settings.anonymous == "anywhere":
        return True
    try:
        found = socket.getaddrinfo(settings.host, None)
    except (OSError, UnicodeError) as error:
        sys.exit(f"PULLBACK_HOST={settings.host} is no address of this machine: {error}")
    return all(ip_address(address[0]).is_loopback for *_, address in found)


def _warn_of_unknown_settings(names: Iterable[str]) -> None:
    known = [f"PULLBACK_{name.upper()}" for name in Settings.model_fields]
    for name in names:
        if name.upper().startswith("PULLBACK_") and name.upper() not in (*known, *CLIENTS):
            close = get_close_matches(name.upper(), known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            logging.getLogger("pullback").warning("there is no setting %s%s", name, hint)


def _allow_many_connections(count: int) -> None:
    """As many descriptors as the system grants: idle connections are not to keep others out."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if 0 <= most < count + OTHER_DESCRIPTORS:
        logging.getLogger("pullback").warning("%d descriptors are too few for %d connections", most, count)


class DrainingServer(uvicorn.Server):
    """Told to end, it says first that it is not ready, then stops listening, then finishes what runs, for a while."""

    def __init__(self, config: uvicorn.Config, workers: AbstractWorkers, settings: Settings) -> None:
        super().__init__(config)
        self._workers = workers
        self._notice_s = settings.notice_s
        self._patience_s = settings.notice_s + settings.grace_s
        self._is_told = False

    @override
    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
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
