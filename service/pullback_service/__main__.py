"""`python -m pullback_service`: serve, with the settings of the environment."""

from __future__ import annotations

import gc
import logging
import signal
import sys

import uvicorn
from pydantic import ValidationError

from pullback_service.app import create_app
from pullback_service.settings import Settings

KEEP_ALIVE_S = 65
"""Longer than the idle time of common clients and proxies, so that it is they who close."""


def main() -> None:
    """Serve until told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        settings = Settings()
    except ValidationError as error:
        sys.exit(f"the settings in the environment do not fit:\n{error}")
    logging.getLogger("pullback").info("settings: %s", settings)
    # uvicorn drains on SIGTERM and then raises it again, for whoever handled it before.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    app = create_app(settings)
    gc.freeze()  # what is loaded now stays; the collector need not walk it again
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
    )


if __name__ == "__main__":
    main()
