"""The options of every TCP connection to a device: small frames leave at once, a vanished peer is noticed."""

from __future__ import annotations

import socket
from typing import Protocol

#: seconds without traffic until the kernel probes, between its probes, and probes until it gives up
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


class _Options(Protocol):
    def setsockopt(self, level: int, option: int, value: int, /) -> None: ...


def prepare(connection: _Options) -> None:
    """Sets the options of a connected socket."""
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            connection.setsockopt(socket.IPPROTO_TCP, name, value)
    except OSError:
        pass  # the other side has hung up already; the first read says so
