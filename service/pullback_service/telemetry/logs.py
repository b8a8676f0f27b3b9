"""The log: lines for people, or JSON for machines, on stderr."""

from __future__ import annotations

import atexit
import logging
import threading
from logging.handlers import QueueHandler
from queue import Full, Queue

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.orjson import OrjsonFormatter
from typing_extensions import override

from pullback_service.settings import Settings

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
MAX_WAITING = 10_000
LAST_WORDS_S = 2

log = logging.getLogger(__name__)


def configure_logging(settings: Settings, *, in_background: bool = False) -> None:
    """Write every line of this process in the form that is wanted.

    In the background, a reader that stalls keeps nobody waiting: lines that nobody takes are lost, and counted.
    """
    handler: logging.Handler = logging.StreamHandler()
    handler.setFormatter(_json() if settings.log_format == "json" else logging.Formatter(TEXT))
    if in_background:
        handler = Background(handler)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)


def _json() -> logging.Formatter:
    return OrjsonFormatter(
        "%(levelname)s%(name)s%(message)s",
        timestamp="time",
        reserved_attrs=[*RESERVED_ATTRS, "color_message"],
        rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception"},
    )


class Background(QueueHandler):
    """Hands lines to a thread, which writes them; the library's listener would wait at the end for whoever stalls."""

    def __init__(self, writer: logging.Handler) -> None:
        self._lines: Queue[logging.LogRecord | None] = Queue(MAX_WAITING)
        super().__init__(self._lines)
        self._writer = writer
        self._lost = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()
        atexit.register(self._end)

    @override
    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record  # it stays in this process

    @override
    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(record)
        except Full:
            self._lost += 1

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            self._writer.handle(line)
            if self._lost:
                lost, self._lost = self._lost, 0
                told = f"{lost} lines were lost: nobody read them"
                self._writer.handle(log.makeRecord(log.name, logging.WARNING, "", 0, told, (), None))

    def _end(self) -> None:
        try:
            self._lines.put(None, timeout=LAST_WORDS_S)
        except Full:
            return
        self._thread.join(LAST_WORDS_S)
