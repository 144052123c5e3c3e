"""The simulator's control socket: one JSON object a line, one answer a line.

``{"op": "set", "point": "well-1/ch4", "value": 30}`` -> ``{"ok": true, ...}`` or
``{"ok": false, "error": "a sentence"}``.  The socket is a Unix socket that only its owner may use.
The server side runs inside of ``app``; the client side is what the commands call.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from simulators.errors import ControlError, SimulatorError

#: a request or answer is not longer (bytes)
MAX_LINE = 1024 * 1024
#: most bytes of a Unix socket's path on Linux (sun_path, with its final NUL)
MAX_PATH = 107

Handler = Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]


class ControlServer:
    """Answers requests on a socket; ``handlers`` maps the word ``op`` to what is done."""

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        self._path = path
        self._handlers = handlers
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listens.

        Raises:
            ControlError: another simulator answers there, or the path cannot be used.
        """
        check_path(self._path)
        if self._path.is_socket():
            try:
                with _connected(self._path, 1.0):
                    pass
            except ControlError:
                self._path.unlink()  # left behind by one that was killed
            else:
                raise ControlError(f"another simulator answers at {self._path}; end it, or give another --control")
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, str(self._path), limit=MAX_LINE)
        except OSError as error:
            raise ControlError(f"cannot listen at {self._path}: {error.strerror or error}") from error
        finally:
            os.umask(before)

    async def stop(self) -> None:
        """Closes and removes the socket; safe to call twice."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(line), ensure_ascii=False).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError, asyncio.LimitOverrunError):
            pass  # the client went away, or sent a line without an end
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return {"ok": False, "error": "the request is not JSON"}
        if not isinstance(request, dict):
            return {"ok": False, "error": "the request is not a JSON object"}
        handler = self._handlers.get(str(request.get("op")))
        if handler is None:
            return {
                "ok": False,
                "error": f"op {request.get('op')!r} is not known; known are {', '.join(self._handlers)}",
            }
        try:
            return {"ok": True, **await handler(request)}
        except SimulatorError as error:
            return {"ok": False, "error": str(error)}


def check_path(path: Path) -> None:
    """Raises ControlError when a path is too long for a Unix socket or its folder is missing."""
    if len(os.fsencode(path)) > MAX_PATH:
        raise ControlError(f"{path} is longer than the {MAX_PATH} bytes of a socket's path; give a shorter --control")
    if not path.parent.is_dir():
        raise ControlError(f"there is no directory {path.parent}")


def ask(path: Path, request: Mapping[str, Any], *, timeout_s: float = 5.0) -> dict[str, Any]:
    """Sends one request to the running simulator and returns its answer.

    Raises:
        ControlError: no simulator answers there, or it refused and said why.
    """
    check_path(path)
    with _connected(path, timeout_s) as link, link.makefile("rwb") as stream:
        try:
            stream.write(json.dumps(dict(request)).encode() + b"\n")
            stream.flush()
            line = stream.readline(MAX_LINE)
        except OSError as error:
            raise ControlError(f"the simulator at {path} does not answer: {error}") from error
    try:
        found = json.loads(line)
    except ValueError as error:
        raise ControlError(f"the simulator at {path} ended while it was asked") from error
    if not found.get("ok"):
        raise ControlError(str(found.get("error", "refused")))
    return {key: value for key, value in found.items() if key != "ok"}


def _connected(path: Path, timeout_s: float) -> socket.socket:
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.settimeout(timeout_s)
    try:
        link.connect(str(path))
    except OSError as error:
        link.close()
        raise ControlError(
            f"no simulator answers at {path}; start one with 'simulator run' or 'simulator demo', or give --control"
        ) from error
    return link


def required(request: Mapping[str, Any], key: str, kind: type | tuple[type, ...]) -> Any:
    """Returns a field of a request; raises SimulatorError when it is missing or of another kind."""
    value = request.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise SimulatorError(f"{key} is {value!r}; it is missing or of the wrong kind")
    return value
