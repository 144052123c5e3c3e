"""Every register of every device of the bank written at once, over one connection for each device."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from benchmarks.bench_site import device_host
from benchmarks.stage import BenchError, Stage, now_us

#: a request to write one register, and its answer
_FRAME = 12


def write_all(stage: Stage, value: int) -> int:
    """Writes one value to all registers of all devices; returns when the first one was sent, monotonic us.

    Raises:
        BenchError: a device did not take them.
    """
    with ExitStack() as stack:
        links = []
        for device in range(stage.devices):
            link = stack.enter_context(socket.create_connection((device_host(device), stage.bank_port), 2))
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            links.append(link)
        frames = b"".join(_write_frame(register, value) for register in range(stage.registers))
        begun_us = now_us()
        for link in links:
            link.sendall(frames)
        for link in links:
            _take(link, len(frames))
    return begun_us


def _write_frame(register: int, value: int) -> bytes:
    return bytes((0, register, 0, 0, 0, 6, 1, 6, 0, register, value >> 8, value & 0xFF))


def _take(link: socket.socket, size: int) -> None:
    came = 0
    while came < size:
        part = link.recv(size - came)
        if not part:
            raise BenchError("a device did not take the writes")
        came += len(part)
