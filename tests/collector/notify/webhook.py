"""A webhook on loopback that keeps what it is sent."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "s3cr3t-token"


class Webhook:
    """Takes posts on loopback and answers what it is told to."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.status = 200
        self.content = b""
        self.came = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.taken.append(json.loads(body))
                hook.came.set()
                hook.may_answer.wait(20)
                try:
                    self.send_response(hook.status)
                    self.send_header("Content-Length", str(len(hook.content)))
                    self.end_headers()
                    self.wfile.write(hook.content)
                except OSError:
                    pass  # whoever asked is gone

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        self.url = f"json://user:{SECRET}@127.0.0.1:{self.server.server_port}/{SECRET}?optional=yes&retry=3"

    def close(self) -> None:
        self.may_answer.set()
        self.server.shutdown()
        self.server.server_close()
