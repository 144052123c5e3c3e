"""Serves one text over HTTP on a local port: Prometheus asks ``GET /metrics``.  It is no web server.

One request for each connection, nothing of it is kept; whoever is slow or asks for anything else is sent away.
It has no access control, so it listens where the site file says: on this machine, unless that says otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

_LOG = logging.getLogger(__name__)
_PATH = "/metrics"
_MOST_HEAD = 8192
_LIMIT_S = 5.0
_MOST_AT_ONCE = 8
#: of the exposition format, version 0.0.4
_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


class MetricsServer:
    """One listening socket, or none."""

    def __init__(self, text: Callable[[], str]) -> None:
        """Takes what is served; listens nowhere yet."""
        self._text = text
        self._server: asyncio.Server | None = None
        self._where = self._taken = ("", 0)
        self._talks: set[asyncio.Task[None]] = set()

    @property
    def where(self) -> tuple[str, int]:
        """Address that is listened on; empty and 0: none."""
        if self._server is None:
            return "", 0
        name = self._server.sockets[0].getsockname()
        return str(name[0]), int(name[1])

    async def serve(self, host: str, port: int) -> None:
        """Listens on another address than before, or on none (empty).

        One that is taken is told in the log, once, and tried again with the next call.
        """
        if (host, port) == self._where and (self._server is not None or not host):
            return
        await self.close()
        self._where = (host, port)
        if not host:
            return
        try:
            self._server = await asyncio.start_server(self._accept, host, port, limit=_MOST_HEAD)
            self._taken = ("", 0)
        except OSError as error:
            if self._taken != (host, port):
                _LOG.error("metrics cannot be served on %s port %d: %s", host, port, error.strerror or error)
            self._taken = (host, port)

    async def close(self) -> None:
        """Listens no more; safe to call twice."""
        server, self._server, self._where = self._server, None, ("", 0)
        if server is None:
            return
        server.close()
        for talk in tuple(self._talks):
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._talks.add(task)
            task.add_done_callback(self._talks.discard)
        is_taken = False
        try:
            async with asyncio.timeout(_LIMIT_S):
                writer.write(self._answer(await reader.readuntil(b"\r\n\r\n")))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
                is_taken = True
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return
        except Exception:
            # The outermost loop of a request: a defect here must not end polling.
            _LOG.exception("metrics could not be told")
        finally:
            if not is_taken:
                # Who does not take the answer would hold it, and the connection, for ever.
                writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, head: bytes) -> bytes:
        words = head.split(b"\r\n", 1)[0].decode("ascii", "replace").split()
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _reply(400, "this is no request of HTTP/1.1\n")
        if words[0] not in ("GET", "HEAD"):
            return _reply(405, "GET would be right\n")
        if words[1].partition("?")[0] != _PATH:
            return _reply(404, f"{_PATH} would be right\n")
        if len(self._talks) > _MOST_AT_ONCE:
            return _reply(503, "too many ask at once\n")
        return _reply(200, self._text(), kind=_TEXT, has_body=words[0] == "GET")


def _reply(status: int, text: str, *, kind: str = "text/plain; charset=utf-8", has_body: bool = True) -> bytes:
    body = text.encode()
    head = [
        f"HTTP/1.1 {status} {_REASONS[status]}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    return "\r\n".join([*head, "", ""]).encode() + (body if has_body else b"")
