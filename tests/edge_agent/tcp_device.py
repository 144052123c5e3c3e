"""A Modbus TCP device for tests of the whole agent: a thread, registers that the test sets, connections counted."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
from typing import Any


class TcpDevice:
    """Answers reads of holding and input registers for any unit id."""

    def __init__(self, registers: dict[int, int] | None = None) -> None:
        self.registers = registers or {}
        self.connections = 0
        self.reads = 0
        device = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                device.connections += 1
                with contextlib.suppress(OSError):
                    while frame := _take(self.request):
                        self.request.sendall(device.answer(frame))

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._server: Any = Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, frame: bytes) -> bytes:
        transaction, _, _, unit, function, address, count = struct.unpack(">HHHBBHH", frame[:12])
        self.reads += 1
        words = [self.registers.get(address + place, 0) for place in range(count)]
        body = struct.pack(f">BBB{count}H", unit, function, 2 * count, *words)
        return struct.pack(">HHH", transaction, 0, len(body)) + body

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _take(connection: socket.socket) -> bytes:
    data = b""
    while len(data) < 12:
        piece = connection.recv(12 - len(data))
        if not piece:
            return b""
        data += piece
    return data
