"""Many plain Modbus TCP devices in one cheap process, for measurements.

Each device listens on its own loopback address, 127.1.0.1 to 127.1.0.250, then 127.1.1.1 and up, on the same
port, and has ``registers`` holding registers from address 0: the first counts up every second, the others
move slowly, as profile ``plain-20`` (``benchmarks/profiles``) reads them. Replies are prepared once a second,
so that a request costs a lookup and a write; the bank shares the machine with what is measured. Function 6
holds a register at a value (an alarm can be set off so); the value 65535 releases it. It knows no scenario
and no fault.
"""

from __future__ import annotations

import asyncio
import struct
import sys

from simulators.app import wait_for_signal
from simulators.device import ILLEGAL_ADDRESS, ILLEGAL_FUNCTION, ILLEGAL_VALUE, exception_pdu
from simulators.errors import SimulatorError
from simulators.tcp_server import listen, no_delay

REFRESH_S = 1.0
#: written to a register, it moves again
RELEASE = 0xFFFF
MAX_DEVICES = 1000
#: loopback addresses of one block
_BLOCK = 250
MAX_REGISTERS = 125


def device_host(number: int) -> str:
    """Returns the loopback address of a device, counted from 0."""
    return f"127.1.{number // _BLOCK}.{number % _BLOCK + 1}"


def words_at(device: int, registers: int, tick: int) -> list[int]:
    """Returns the registers of a device (counted from 0) at a tick: a counter, then slow triangles 100..199."""
    moving = (100 + abs((tick + 7 * place + 13 * device) % 198 - 99) for place in range(1, registers))
    return [tick & 0x7FFF, *moving]


class BankDevice:
    """One device: its words of this second, and replies made of them."""

    def __init__(self, number: int, registers: int) -> None:
        self._number = number
        self._registers = registers
        self._held: dict[int, int] = {}
        self._words: list[int] = []
        #: bytes 2 to 12 of a request (length to count) -> everything of the reply after the protocol field
        self._ready: dict[bytes, bytes] = {}
        self.refresh(0)

    def refresh(self, tick: int) -> None:
        """Takes the words of a tick."""
        self._words = words_at(self._number, self._registers, tick)
        for place, word in self._held.items():
            self._words[place] = word
        self._ready = {}

    def reply(self, frame: bytes) -> bytes:
        """Returns the reply to one whole request frame."""
        key = frame[4:]
        ready = self._ready.get(key)
        if ready is None:
            pdu = self._answer(frame[7:])
            ready = struct.pack(">HB", len(pdu) + 1, frame[6]) + pdu
            if frame[7] == 3:
                self._ready[key] = ready
        return frame[:4] + ready

    def _answer(self, pdu: bytes) -> bytes:
        if len(pdu) != 5 or pdu[0] not in (3, 6):
            return exception_pdu(pdu[0], ILLEGAL_FUNCTION)
        function, address, value = struct.unpack(">BHH", pdu)
        if function == 3:
            if not 1 <= value <= MAX_REGISTERS:
                return exception_pdu(function, ILLEGAL_VALUE)
            if address + value > self._registers:
                return exception_pdu(function, ILLEGAL_ADDRESS)
            words = self._words[address : address + value]
            return struct.pack(f">BB{value}H", function, 2 * value, *words)
        if address >= self._registers:
            return exception_pdu(function, ILLEGAL_ADDRESS)
        if value == RELEASE:
            self._held.pop(address, None)
        else:
            self._held[address] = value
            self._words[address] = value
        self._ready = {}
        return pdu


class _Connection(asyncio.Protocol):
    def __init__(self, device: BankDevice) -> None:
        self._device = device
        self._pending = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        no_delay(transport)

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        if transport is None:
            return
        if not self._pending and len(data) == 12 and data[5] == 6:
            transport.write(self._device.reply(data))
            return
        pending = self._pending + data
        while len(pending) >= 8:
            length = 6 + (pending[4] << 8 | pending[5])
            if not 8 <= length <= 260:
                transport.abort()
                return
            if len(pending) < length:
                break
            transport.write(self._device.reply(pending[:length]))
            pending = pending[length:]
        self._pending = pending


class TcpBank:
    """All devices of a bank."""

    def __init__(self, *, devices: int, registers: int, port: int) -> None:
        if not 1 <= devices <= MAX_DEVICES:
            raise SimulatorError(f"--devices {devices} is not from 1 to {MAX_DEVICES}")
        if not 1 <= registers <= MAX_REGISTERS:
            raise SimulatorError(f"--registers {registers} is not from 1 to {MAX_REGISTERS}")
        if not 1 <= port <= 65535:
            raise SimulatorError(f"--port {port} is not from 1 to 65535")
        self._port = port
        self._devices = [BankDevice(number, registers) for number in range(devices)]
        self._servers: list[asyncio.Server] = []
        self._timer: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listens on every address; raises PortInUse."""
        loop = asyncio.get_running_loop()
        for number, device in enumerate(self._devices):
            factory = self._factory(device)
            self._servers.append(await listen(loop, factory, device_host(number), self._port, f"device {number + 1}"))
        self._timer = asyncio.create_task(self._refresh())

    async def stop(self) -> None:
        """Closes everything; safe to call twice."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
            await asyncio.gather(timer, return_exceptions=True)
        for server in self._servers:
            server.close()
        self._servers.clear()

    @staticmethod
    def _factory(device: BankDevice) -> object:
        return lambda: _Connection(device)

    async def _refresh(self) -> None:
        tick = 0
        while True:
            await asyncio.sleep(REFRESH_S)
            tick += 1
            for device in self._devices:
                device.refresh(tick)


async def run_bank(*, devices: int, registers: int, port: int) -> None:
    """Runs a bank until SIGINT or SIGTERM; says ``ready`` on standard output when every device listens."""
    bank = TcpBank(devices=devices, registers=registers, port=port)
    await bank.start()
    print(f"ready: {devices} devices at {device_host(0)} to {device_host(devices - 1)}, port {port}", flush=True)
    sys.stdout.flush()
    try:
        await wait_for_signal()
    finally:
        await bank.stop()
