"""A bus that a controller owns, and the third wire of whoever listens to it.

::

    devices <- RtuBus <-(pseudo terminal)- owner            asks each value in turn, as a PLC does
                                             |
                                             +-> tap        every byte of both, at the path of the site file

The owner is a thread with the project's own exchange on it.  What is written to the tap goes nowhere and is
counted: a listener writes nothing.  A tap that nobody reads fills up and is then left out, as a wire is.
"""

from __future__ import annotations

import os
import pty
import shutil
import tempfile
import threading
import time
import tty
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from drivers.exchange import Exchange
from drivers.port import ReadRequest, monotonic_us
from drivers.serial_wire import LineSettings, SerialWire
from simulators.errors import PortInUse
from simulators.plant import PlantDevice, SerialLine
from simulators.rtu_server import BusCounts, RtuBus
from simulators.world import World

_Tell = Callable[[bytes], None]
_PARITY = {"none": "N", "even": "E", "odd": "O"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    unit_id: int
    table: str
    address: int
    count: int


class OwnedBus:
    """One serial line with its devices, its owner and a tap at the line's path."""

    def __init__(self, line: SerialLine, devices: Sequence[PlantDevice], world: World, *, cycle_s: float = 1.0) -> None:
        """Opens nothing; ``cycle_s``: how often the owner asks every value."""
        self.line = line
        self._folder = Path(tempfile.mkdtemp(prefix="qianshao-bus-"))
        inner = replace(line, path=self._folder / "bus")
        units: Mapping[int, str] = {device.unit_id: device.id for device in devices}
        self._bus = RtuBus(inner, units, world)
        self._reads = [read for device in devices for read in _reads(device)]
        self._cycle_s = cycle_s
        #: while set the owner asks nothing
        self.is_silent = threading.Event()
        #: bytes that somebody sent into the tap
        self.bytes_into_tap = 0
        self._tap = -1
        self._tap_end = -1
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def counts(self) -> BusCounts:
        """What the devices' side has seen."""
        return self._bus.counts

    @property
    def device(self) -> str:
        """Path of the tap's pseudo terminal."""
        return os.ttyname(self._tap_end) if self._tap_end >= 0 else ""

    def start(self) -> None:
        """Makes bus, tap and owner.

        Raises:
            PortInUse: something that is no symbolic link is at the line's path.
        """
        self._bus.start()
        self._tap, self._tap_end = pty.openpty()
        tty.setraw(self._tap_end)
        os.set_blocking(self._tap, False)
        path = self.line.path
        try:
            if path.is_symlink():
                path.unlink()
            path.symlink_to(self.device)
        except OSError as error:
            self.stop()
            raise PortInUse(
                f"{self.line.id}: cannot make a link at {path}: {error.strerror or error}; give a path that is free"
            ) from error
        self._stop.clear()
        self._thread = threading.Thread(target=self._own, name=f"owner-{self.line.id}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends owner, tap and bus; safe to call twice."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stop.set()
            thread.join(timeout=5.0)
        if self._tap_end >= 0 and self.line.path.is_symlink() and os.readlink(self.line.path) == self.device:
            self.line.path.unlink()
        for number in (self._tap, self._tap_end):
            if number >= 0:
                os.close(number)
        self._tap = self._tap_end = -1
        self._bus.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _own(self) -> None:
        settings = self.line.settings
        own = LineSettings(
            path=str(self._folder / "bus"),
            baud=settings.baud,
            parity=_PARITY[settings.parity],
            stop_bits=settings.stop_bits,
        )
        exchange = Exchange(own, _TappedWire(own, self._tell), clock_us=monotonic_us, sleep=time.sleep)
        while not self._stop.is_set():
            began = time.monotonic()
            for read in self._reads:
                if self._stop.is_set() or self.is_silent.is_set():
                    break
                exchange.ask(
                    ReadRequest(
                        unit_id=read.unit_id,
                        table=read.table,
                        address=read.address,
                        count=read.count,
                        timeout_s=0.2,
                        max_reply_s=0.2,
                    )
                )
            self._stop.wait(max(0.0, self._cycle_s - (time.monotonic() - began)))
        exchange.close()

    def _tell(self, data: bytes) -> None:
        try:
            os.write(self._tap, data)
        except BlockingIOError:
            pass  # nobody listens: the wire does not mind
        try:
            self.bytes_into_tap += len(os.read(self._tap, 4096))
        except BlockingIOError:
            pass


class _TappedWire(SerialWire):
    """A serial port that lets a third hear both sides."""

    def __init__(self, settings: LineSettings, tell: _Tell) -> None:
        super().__init__(settings)
        self._tell = tell

    def write(self, data: bytes) -> None:
        super().write(data)
        self._tell(data)

    def read(self) -> bytes:
        data = super().read()
        if data:
            self._tell(data)
        return data


def _reads(device: PlantDevice) -> list[_Read]:
    found = []
    for point in device.image.points.values():
        first = min(offset for offset, _ in point.step.spans)
        end = max(offset + length for offset, length in point.step.spans)
        found.append(_Read(unit_id=device.unit_id, table=point.table, address=first, count=end - first))
    return found
