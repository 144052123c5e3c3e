"""Debian's mosquitto on a loopback port, for the tests that want an outside broker."""

from __future__ import annotations

import random
import socket
import subprocess
import time
from pathlib import Path

#: Below the ports that Linux gives to connections (``ip_local_port_range``, from 32768): between two starts of a server
#: on a port of that range a connection of anybody can take it, and a client that tries it may reach itself.
_PORTS = range(20_000, 32_000)
_given: set[int] = set()


def free_port() -> int:
    """Returns a TCP port that nobody uses at this moment, and that no other connection will be given."""
    while True:
        port = random.SystemRandom().choice(_PORTS)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port


class Mosquitto:
    """One broker process; can be killed and started again on the same port."""

    def __init__(self, tool: str, folder: Path) -> None:
        self._tool = tool
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\n"
        )
        self._log = folder / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([self._tool, "-c", str(self._config)], stdout=log, stderr=log)
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.5).close()
                return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"mosquitto did not start: {self._log.read_text()}")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
