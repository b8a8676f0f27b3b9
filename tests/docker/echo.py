"""Answers each request with what came: the headers, how many bytes, and on which connection."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Echo(BaseHTTPRequestHandler):
    """One connection, kept alive."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Tell what came."""
        size = len(self.rfile.read(int(self.headers.get("content-length", 0))))
        told = {"headers": self.headers.items(), "bytes": size, "connection": self.client_address[1]}
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST


ThreadingHTTPServer(("", 8000), Echo).serve_forever()
