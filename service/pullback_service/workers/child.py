"""The worker process: owns torch, answers calls from one socket until it closes."""

from __future__ import annotations

import gc
import sys
import warnings
from socket import socket

from pullback_service.settings import Settings
from pullback_service.workers.frames import READY, receive_call, send_reply

GARBAGE = 20_000
"""New objects before the collector looks at them: some dozens of small requests."""


def main(descriptor: int, settings: Settings) -> None:
    """Get ready, say so, and answer."""
    from pullback_service.engine import build_engine

    warnings.simplefilter("ignore")
    connection = socket(fileno=descriptor)
    engine = build_engine(settings)
    # torch's own objects live as long as the process, and a request leaves few cycles.
    gc.freeze()
    gc.set_threshold(GARBAGE)
    connection.sendall(READY)
    while (call := receive_call(connection)) is not None:
        send_reply(connection, engine.answer(call))


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), Settings.model_validate_json(sys.argv[2]))
    except ConnectionError:
        sys.exit(0)
