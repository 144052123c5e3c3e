"""What the demo needs on disk and on the network before it starts: directory, free ports, site file.

The site file is made from ``config/sites/demo.toml``: only lines that end with ``# demo: NAME`` are changed.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from simulators.errors import DemoError

LOCK = "demo.lock"
_LINE = re.compile(r"^(?P<key>\s*\w+\s*=\s*)(?P<value>.*?)(?P<end>\s*#\s*demo:\s*(?P<name>\w+)\s*)$", re.MULTILINE)

Filling = int | str


def fill_template(text: str, values: Mapping[str, Filling]) -> str:
    """Returns the site file with the values of the marked lines replaced.

    Raises:
        DemoError: a marked line has no value, or a value has no line.
    """
    used: set[str] = set()

    def fill(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in values:
            raise DemoError(f"the demo's site file asks for {name!r}; known are {', '.join(values)}")
        used.add(name)
        # A JSON string of plain text is a TOML basic string too.
        return f"{match['key']}{json.dumps(values[name], ensure_ascii=False)}{match['end']}"

    filled = _LINE.sub(fill, text)
    if used != set(values):
        raise DemoError(f"the demo's site file has no line for {', '.join(sorted(set(values) - used))}")
    return filled


class DemoDir:
    """The demo's directory, emptied and held by one demo at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = -1

    def acquire(self) -> None:
        """Takes the directory and removes what an earlier demo left.

        Raises:
            DemoError: another demo runs in it, it is not a demo's, or it cannot be written (status 2).
        """
        try:
            if self.path.exists() and any(self.path.iterdir()) and not (self.path / LOCK).is_file():
                raise DemoError(
                    f"{self.path} is not empty and was not made by a demo; choose another: DEMO_DIR=... make demo",
                    status=2,
                )
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for entry in self.path.iterdir():
                if entry.name != LOCK:
                    remove(entry)
        except BlockingIOError:
            self.release()
            raise DemoError(
                f"another demo runs in {self.path}; end it, or choose another: DEMO_DIR=... make demo", status=2
            ) from None
        except OSError as error:
            self.release()
            raise DemoError(f"{error.filename or self.path}: {error.strerror or error}", status=2) from error

    def release(self) -> None:
        """Lets another demo use the directory; safe to call twice."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def remove(entry: Path) -> None:
    """Deletes a file, a link or a whole directory."""
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()


def check_port(port: int) -> None:
    """Raises DemoError (status 2) when something listens on this port of 127.0.0.1, or nothing may."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            raise DemoError(f"this user may not listen on port {port}; choose one above 1023", status=2) from None
        except OSError as error:
            raise DemoError(
                f"port {port} is used by another program; choose another: DEMO_PORT={port % 65535 + 1} make demo",
                status=2,
            ) from error


def free_ports(count: int) -> list[int]:
    """Returns ports of 127.0.0.1 that are free now, all different."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
