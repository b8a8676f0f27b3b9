"""The log: lines for people, or JSON for machines, on stderr."""

from __future__ import annotations

import atexit
import logging
import os
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
STDERR = 2

log = logging.getLogger(__name__)


def configure_logging(settings: Settings, *, in_background: bool = False) -> None:
    """Write every line of this process in the form that is wanted.

    In the background, a reader that stalls keeps nobody waiting: lines that nobody takes are lost, and counted.
    """
    handler = Background(STDERR) if in_background else logging.StreamHandler()
    handler.setFormatter(_json() if settings.log_format == "json" else logging.Formatter(TEXT))
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
    """Hands lines to a thread, which writes them.

    It holds no lock meanwhile, for which the end of the process would wait, as it would for the library's listener.
    """

    def __init__(self, descriptor: int) -> None:
        self._lines: Queue[logging.LogRecord | None] = Queue(MAX_WAITING)
        super().__init__(self._lines)
        self._descriptor = descriptor
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
            self._write_one(line)
            if self._lost:
                lost, self._lost = self._lost, 0
                told = f"{lost} lines were lost: nobody read them"
                self._write_one(log.makeRecord(log.name, logging.WARNING, "", 0, told, (), None))

    def _write_one(self, line: logging.LogRecord) -> None:
        data = (self.format(line) + "\n").encode("utf-8", "backslashreplace")
        while data:
            data = data[os.write(self._descriptor, data) :]

    def _end(self) -> None:
        try:
            self._lines.put(None, timeout=LAST_WORDS_S)
        except Full:
            return
        self._thread.join(LAST_WORDS_S)
