"""Silence, echo and writes on a real PTY whose other end keeps the time of a wire and measures ours."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from contracts import quality
from drivers.line import SerialLine
from drivers.port import RawRequest, ReadRequest, WriteRequest
from drivers.serial_wire import LineSettings
from simulators import plant
from simulators.device import Memory, answer
from simulators.rtu_server import RtuBus
from simulators.world import LineReply, World

#: a unit that never answers, and the one that stands for the rest
DEAD, LIVE = 9, 1


class Registers:
    """The devices' side of ``RtuBus``: registers that can be written."""

    def __init__(self) -> None:
        self.words = dict.fromkeys(range(100), 0)

    def reply(self, device_id: str, pdu: bytes) -> LineReply | None:
        memory = Memory(words={"holding": self.words, "coil": {}}, ranges={"holding": ((0, 100),), "coil": ((0, 16),)})
        told = None if device_id == "dead" else answer(pdu, memory)
        if told is None:
            return None
        self.words.update({address: word for table, address, word in told.writes if table == "holding"})
        return LineReply(unit_id=int(device_id), pdu=told.pdu, delay_s=0.0, is_crc_wrong=False)


@contextlib.contextmanager
def bus_at(baud: int, folder: Path) -> Iterator[RtuBus]:
    line = plant.SerialLine(id="bus", path=folder / "line", settings=plant.LineSettings(baud=baud))
    units = {LIVE: str(LIVE), 2: "2", DEAD: "dead"}
    bus = RtuBus(line, units, cast("World", Registers()))
    bus.start()
    try:
        yield bus
    finally:
        bus.stop()


def read(unit_id: int, address: int) -> ReadRequest:
    return ReadRequest(unit_id=unit_id, table="holding", address=address, count=4, timeout_s=0.04, max_reply_s=0.05)


@pytest.mark.alone
@pytest.mark.parametrize("baud", [9600, 19200])
async def test_no_request_begins_before_the_line_was_silent(baud: int, tmp_path: Path) -> None:
    """Answers, refusals, time-outs, writes, broadcasts and raw frames, one behind the other."""
    with bus_at(baud, tmp_path) as bus:
        line = SerialLine(LineSettings(path=str(bus.line.path), baud=baud))
        await line.open()
        for number in range(12):
            assert (await line.read(read(LIVE, number))).code == quality.GOOD
            assert (await line.read(read(2, 200))).code == quality.ILLEGAL_ADDRESS
            dead = await line.read(read(DEAD, number))
            assert dead.code in (quality.NO_REPLY, quality.NOT_ASKED)
            write = WriteRequest(
                unit_id=LIVE,
                function=16 if number % 2 else 6,
                address=number,
                values=(number,),
                timeout_s=0.2,
                max_reply_s=0.2,
                answered_by=(LIVE,),
            )
            assert (await line.write(write)).code == quality.GOOD
            frame = bytes.fromhex("01 03 00 02 00 02 65 CB")
            assert (await line.raw(RawRequest(frame=frame, listen_s=0.2))).heard
        await line.close()
        assert bus.counts.requests == line.counters.requests + 12
        assert (bus.counts.short_gaps, bus.counts.crc_errors) == (0, 0)
        assert min(bus.counts.gaps_s) >= 3.5 * 11 / baud


async def test_writes_and_what_they_changed(tmp_path: Path) -> None:
    with bus_at(19200, tmp_path) as bus:
        line = SerialLine(LineSettings(path=str(bus.line.path), baud=19200))
        await line.open()
        write = WriteRequest(
            unit_id=LIVE,
            function=16,
            address=10,
            values=(1, 65535, 3),
            timeout_s=0.2,
            max_reply_s=0.2,
            answered_by=(LIVE,),
        )
        assert (await line.write(write)).code == quality.GOOD
        assert (await line.read(read(2, 10))).words == (1, 65535, 3, 0)
        begun = time.monotonic()
        broadcast = WriteRequest(
            unit_id=0, function=6, address=11, values=(5,), timeout_s=0.1, max_reply_s=0.2, answered_by=()
        )
        assert (await line.write(broadcast)).code == quality.GOOD
        assert time.monotonic() - begun >= 0.1
        assert (await line.read(read(LIVE, 10))).words == (1, 5, 3, 0)
        await line.close()
