"""The local control socket: how commands talk to the running agent.

One Unix socket in the state directory, newline-delimited JSON.  Its mode is 0600, or 0660 where the agent
runs with group ``qianshao`` (as its systemd unit does): then the members of that group may use it::

    > {"op": "alarm-reset", "point": "well-1/ch4", "rule": "...", "by": "Li Wei"}
    < {"ok": true, "result": {...}}
    < {"ok": false, "error": "a sentence", "exit_status": 2}

It is not the HTTP interface of anything, and it is not reachable from other machines.  The
server knows operations only by name; what they do is handed in.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import json
import logging
import os
import pwd
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from edge_agent.errors import ControlError, EdgeError, NotRunningError
from edge_agent.state_dir import unusable

_LOG = logging.getLogger(__name__)

#: group whose members may use the socket of an agent that runs with it
GROUP = "qianshao"
#: no request is longer (bytes)
MAX_REQUEST = 64 * 1024
#: no answer is longer (bytes)
MAX_ANSWER = 64 * 1024 * 1024
_IDLE_S = 60.0

Request = Mapping[str, Any]
Handler = Callable[[Request], Awaitable[Any]]


class ControlServer:
    """Answers local commands; one agent has one."""

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        """Remembers where to listen and what to answer; opens nothing.

        Args:
            path: of the socket; its directory is there and locked by this process.
            handlers: operation -> coroutine that takes the request and returns plain JSON values;
                an ``EdgeError`` out of it is answered as its sentence.
        """
        self._path = path
        self._handlers = dict(handlers)
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begins to listen, in the place of a socket that a killed agent left behind.

        Raises:
            StateDirError: the socket cannot be made.
        """
        try:
            listener = _bind(self._path)
        except OSError as error:
            raise unusable(self._path, error) from error
        self._server = await asyncio.start_unix_server(self._accept, sock=listener, limit=MAX_REQUEST)

    async def close(self) -> None:
        """Stops listening and ends what is under way; safe to call twice."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for talk in tuple(self._talks):
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        await server.wait_closed()
        with contextlib.suppress(OSError):
            self._path.unlink()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._talks.add(task)
            task.add_done_callback(self._talks.discard)
        try:
            while line := await _next_line(reader):
                answer = await self._answer(line)
                writer.write(json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
                await writer.drain()
        except ValueError:
            # readline's word for a line beyond the limit: what follows cannot be told apart from it.
            _LOG.warning("control: a request longer than %d bytes was refused", MAX_REQUEST)
        except (TimeoutError, ConnectionError):
            return
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return _refused("the request is not JSON", 2)
        if not isinstance(request, dict) or not isinstance(request.get("op"), str):
            return _refused('a request is an object with "op"', 2)
        handler = self._handlers.get(request["op"])
        if handler is None:
            return _refused(f"{request['op']!r} is not known; known are {', '.join(sorted(self._handlers))}", 2)
        try:
            return {"ok": True, "result": await handler(request)}
        except EdgeError as error:
            return _refused(str(error), error.exit_status)
        except Exception:
            # The outermost loop of a request: a defect here must not end polling.
            _LOG.exception("control: %s failed", request["op"])
            return _refused(f"{request['op']} failed inside the agent; its log has the details", 1)


async def _next_line(reader: asyncio.StreamReader) -> bytes:
    # Not wait_for: before Python 3.12 it swallows a cancellation that comes in the moment of the line.
    async with asyncio.timeout(_IDLE_S):
        return await reader.readline()


def text_of(request: Request, name: str, limit: int = 256) -> str:
    """Returns a text argument of a request.

    Raises:
        ControlError: it is missing, empty, too long or no text.
    """
    value = request.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > limit:
        raise ControlError(f"{name!r} is needed: text of 1 to {limit} characters", exit_status=2)
    _utf8(value, name)
    return value.strip()


def _utf8(text: str, name: str) -> bytes:
    # A terminal that is not set to UTF-8 brings half characters: what holds one can be neither sealed nor kept.
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ControlError(f"{name}: not UTF-8; set the terminal to UTF-8", exit_status=2) from None


def ask(path: Path, op: str, *, timeout_s: float = 10.0, **arguments: Any) -> Any:
    """Asks the running agent and returns its answer.

    Args:
        path: of the socket.
        op: operation.
        timeout_s: how long the answer may take.
        arguments: plain JSON values.

    Raises:
        NotRunningError: nobody listens there.
        ControlError: refused, or no answer in time.
    """
    request = _utf8(json.dumps({"op": op, **arguments}, ensure_ascii=False), "an argument") + b"\n"
    if len(request) > MAX_REQUEST:
        raise ControlError("the request is too long", exit_status=2)
    answer = bytearray()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as client:
            client.settimeout(timeout_s)
            with _short_name(path) as name:
                client.connect(name)
            client.sendall(request)
            while not answer.endswith(b"\n"):
                piece = client.recv(1 << 16)
                if not piece or len(answer) > MAX_ANSWER:
                    raise ControlError("the agent ended the connection without an answer")
                answer += piece
    except (FileNotFoundError, ConnectionRefusedError):
        raise NotRunningError(f"no agent runs on {path.parent}") from None
    except PermissionError:
        raise ControlError(_refusal(path)) from None
    except TimeoutError:
        raise ControlError(f"the agent did not answer within {timeout_s:g} s") from None
    except OSError as error:
        raise ControlError(f"{path}: {error.strerror or error}") from error
    return _result(bytes(answer))


def _result(answer: bytes) -> Any:
    try:
        reply = json.loads(answer)
    except (ValueError, RecursionError):
        reply = None
    if not isinstance(reply, dict) or "ok" not in reply:
        raise ControlError("the agent's answer has another form; are command and agent of one version?")
    if reply["ok"] is not True:
        status = reply.get("exit_status")
        raise ControlError(str(reply.get("error", "refused")), exit_status=status if status in (1, 2) else 1)
    return reply.get("result")


def _refused(sentence: str, exit_status: int) -> dict[str, Any]:
    return {"ok": False, "error": sentence, "exit_status": exit_status}


def _bind(path: Path) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    # The mode of a socket comes from the umask at bind; a chmod afterwards would leave a gap.
    before = os.umask(0o117 if _group_name(os.getegid()) == GROUP else 0o177)
    try:
        with _short_name(path) as name:
            listener.bind(name)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _refusal(path: Path) -> str:
    """Says who may use a socket that refuses this user, and the one command that changes it."""
    for place in (path, path.parent):
        try:
            found = place.stat()
        except OSError:
            continue
        if _group_name(found.st_gid) == GROUP:
            return (
                f"{path} is for the group {GROUP}; add this user with `sudo usermod -aG {GROUP} $USER`, "
                "then log out and in again"
            )
        try:
            owner = pwd.getpwuid(found.st_uid).pw_name
        except KeyError:
            owner = str(found.st_uid)
        return f"{path} is for the user {owner} alone; run the command as that user: `sudo -u {owner} edge-agent ...`"
    return f"{path} may not be used by this user; the agent's own user may"


@contextlib.contextmanager
def _short_name(path: Path) -> Iterator[str]:
    """A name for a socket that fits ``sun_path`` (108 bytes, unix(7)) however deep its directory lies."""
    if len(os.fsencode(path)) < 100:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
