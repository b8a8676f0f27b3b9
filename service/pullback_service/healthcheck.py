"""`python -m pullback_service.healthcheck [live|ready]`: exit status 0 if the service on this machine answers so.

For containers and process managers that have no HTTP client at hand. It starts often, and so imports next to nothing.
"""

from __future__ import annotations

import os
import sys
from http.client import HTTPConnection, HTTPException

TIMEOUT_S = 4
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def main(arguments: list[str]) -> int:
    """Ask, print the answer, and give back the exit status: 0 for yes, 1 for no, 2 for a question that there is not."""
    question = arguments[0] if arguments else "ready"
    if question not in ("live", "ready") or len(arguments) > 1:
        print("usage: python -m pullback_service.healthcheck [live|ready]", file=sys.stderr)
        return 2
    host = os.environ.get("PULLBACK_HOST") or "127.0.0.1"
    port = int(os.environ.get("PULLBACK_PORT") or "8000")
    connection = HTTPConnection(EVERYWHERE.get(host, host), port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", f"/health/{question}")
        answer = connection.getresponse()
        print(answer.read().decode(errors="replace"))
    except (OSError, HTTPException) as error:
        print(f"{connection.host}:{connection.port} does not answer: {error}", file=sys.stderr)
        return 1
    finally:
        connection.close()
    return 0 if answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
