"""A listener on a real pseudo terminal: what goes over the line comes out as rows, and nothing is ever sent."""

from __future__ import annotations

import asyncio
import os
import pty
import tty
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from contracts.batch import HealthRecord
from contracts.quality import NO_REPLY, OWNER_SILENT, PORT_CLOSED
from drivers.frames import build_reply, read_request
from drivers.listen import Hear, ListenLine
from drivers.serial_wire import LineSettings
from edge_agent.bus.device_state import Phase
from edge_agent.bus.listener import OWNER_SILENT_S, Listener, Owner, owner_of
from edge_agent.errors import ControlError
from tests.edge_agent.small_plans import block, device

INTERVAL_MS = 200


class Line:
    """A pseudo terminal whose far end is the bus."""

    def __init__(self, path: Path) -> None:
        self.bus, self._end = pty.openpty()
        tty.setraw(self._end)
        os.set_blocking(self.bus, False)
        self.path = path
        path.unlink(missing_ok=True)
        path.symlink_to(os.ttyname(self._end))

    def say(self, data: bytes) -> None:
        os.write(self.bus, data)

    def sent(self) -> bytes:
        try:
            return os.read(self.bus, 4096)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        os.close(self.bus)
        os.close(self._end)


Row = tuple[int, Sequence[int | float | None], Sequence[int] | None]


@asynccontextmanager
async def listening(path: Path, rows: list[Row]) -> AsyncIterator[Listener]:
    def make(hear: Hear) -> ListenLine:
        return ListenLine(LineSettings(path=str(path), baud=9600), hear)

    def sink(
        number: int, sampled_us: int, row: Sequence[int | float | None], codes: Sequence[int] | None, _: int
    ) -> None:
        rows.append((sampled_us, row, codes))

    listener = Listener(
        port_id="plc-bus",
        make_line=make,
        devices=[device(unit_id=3)],
        blocks={0: block(offsets=(0, 1), interval_ms=INTERVAL_MS)},
        sink=sink,
    )
    task = asyncio.create_task(listener.run())
    try:
        yield listener
    finally:
        listener.stop()
        await task


async def until(condition: Callable[[], object], limit_s: float = 10.0) -> None:
    for _ in range(int(limit_s / 0.02)):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen in time")


def facts(records: Sequence[HealthRecord], subject: str) -> dict[str, object]:
    return next(dict(record.facts) for record in records if record.subject == subject)


async def test_rows_and_states_come_out_of_a_line(tmp_path: Path) -> None:
    line, rows = Line(tmp_path / "tty"), list[Row]()
    ask = read_request(unit_id=3, table="holding", address=0, count=2).adu
    async with listening(line.path, rows) as listener:
        await until(lambda: any(codes == (OWNER_SILENT,) * 2 for _, _, codes in rows))
        assert facts(listener.health(), "port/plc-bus")["owner"] == "unheard"

        def talk() -> bool:
            line.say(ask + build_reply(3, 3, (17, 18)))
            return any(row == (17, 18) and codes is None for _, row, codes in rows)

        await until(talk)
        assert listener.device_phases() == {"d1": Phase.HEALTHY}
        known = facts(listener.health(), "port/plc-bus")
        assert (known["mode"], known["owner"]) == ("listening", "talking")

        def ask_in_vain() -> bool:
            line.say(ask)
            return any(codes == (NO_REPLY,) * 2 for _, _, codes in rows)

        await until(ask_in_vain)
        await until(lambda: ask_in_vain() and listener.device_phases() == {"d1": Phase.SILENT})
        with pytest.raises(ControlError, match="listened to"):
            await listener.borrow(lambda port: port)
    assert line.sent() == b""
    line.close()


async def test_a_line_that_goes_and_comes_back(tmp_path: Path) -> None:
    rows = list[Row]()
    async with listening(tmp_path / "tty", rows) as listener:
        await until(lambda: any(codes == (PORT_CLOSED,) * 2 for _, _, codes in rows))
        assert facts(listener.health(), "port/plc-bus")["away"]
        line = Line(tmp_path / "tty")
        ask = read_request(unit_id=3, table="holding", address=0, count=2).adu

        def talk() -> bool:
            line.say(ask + build_reply(3, 3, (1, 2)))
            return any(row == (1, 2) for _, row, _ in rows)

        await until(talk, 20.0)
        line.close()


@pytest.mark.parametrize(
    ("last_us", "now_us", "owner"),
    [
        (None, 0, Owner.UNHEARD),
        (0, 0, Owner.TALKING),
        (0, int(OWNER_SILENT_S * 1e6), Owner.TALKING),
        (0, int(OWNER_SILENT_S * 1e6) + 1, Owner.SILENT),
    ],
)
def test_the_owner_is_a_state(last_us: int | None, now_us: int, owner: Owner) -> None:
    assert owner_of(last_us, now_us) is owner
