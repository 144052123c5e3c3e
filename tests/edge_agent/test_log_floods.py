"""What goes wrong for hours is one line in the log, and its end is another: a table of what can go wrong."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from contracts import quality
from drivers.port import ReadRequest
from edge_agent.bus.poller import Poller
from edge_agent.logged_once import LoggedOnce
from tests.edge_agent.bus.virtual_bus import Answer, Script, ScriptedPort, VirtualTime
from tests.edge_agent.small_plans import block, device


def _until(at_us: int, bad: Callable[[ReadRequest, int], Answer]) -> Script:
    """Fails until a time, then answers."""

    def script(request: ReadRequest, now: int) -> Answer:
        return bad(request, now) if now < at_us else (quality.GOOD, (1,) * request.count, 10_000)

    return script


def _fails(code: int) -> Callable[[ReadRequest, int], Answer]:
    return lambda request, now: (code, (), 20_000)


async def _run(script: Script, seconds: float, take: Callable[..., None] = lambda *row: None) -> None:
    time = VirtualTime()
    poller = Poller(
        port_id="bus-1",
        port=ScriptedPort(time, {1: script}),
        devices=[device("d1")],
        blocks={0: block(offsets=(0, 1))},
        sink=take,
        clock=time.clock,
        sleep=time.sleep,
    )
    task = asyncio.create_task(poller.run())
    await time.advance(seconds)
    poller.stop()
    await time.advance(5)
    await task


@pytest.mark.parametrize(
    ("what", "code", "gone", "back"),
    [
        ("a dead device", quality.NO_REPLY, "device d1 is silent", "device d1 answers again"),
        ("an adapter that was pulled", quality.PORT_CLOSED, "port bus-1 is away", "port bus-1 is back"),
        ("a function that it lacks", quality.ILLEGAL_FUNCTION, "device d1 refuses", "answers holding 0..1 again"),
        ("a register that it lacks", quality.ILLEGAL_ADDRESS, "reading its points one by one", ""),
    ],
)
async def test_a_quarter_of_an_hour_of_it_is_one_line_and_its_end_another(
    what: str, code: int, gone: str, back: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="edge_agent"):
        await _run(_until(5_000_000_000 + 900 * 1_000_000, _fails(code)), 1000)
    told = [record.getMessage() for record in caplog.records if record.name.startswith("edge_agent")]
    assert sum(gone in line for line in told) == 1, what
    assert sum(back in line for line in told) == 1 or not back, what
    assert len(told) <= 2, told


async def test_a_defect_at_every_tick_is_one_traceback(caplog: pytest.LogCaptureFixture) -> None:
    rows = 0

    def take(number: int, sampled_us: int, row: Sequence[Any], codes: Any, replied_us: int) -> None:
        nonlocal rows
        rows += 1
        raise TypeError("a defect")

    await _run(lambda request, now: (quality.GOOD, (1, 1), 10_000), 600, take)
    assert rows >= 599
    assert caplog.text.count("a tick could not be served") == 1
    assert caplog.text.count("Traceback") == 1


async def test_a_reply_that_never_fits_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    await _run(lambda request, now: (quality.GOOD, (1,), 10_000), 600)
    assert caplog.text.count("does not fit its request") == 1


def test_what_stands_is_said_once_and_its_end_once(caplog: pytest.LogCaptureFixture) -> None:
    said = LoggedOnce(logging.getLogger("edge_agent.test"))
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            for _ in range(50):
                said.gone("disk", "the disk is away: %s", "full")
                said.fault("send", ValueError("x"), "sending failed")
            said.fault("send", ValueError("y"), "sending failed")
            said.back("disk", "the disk is back")
            said.back("disk", "the disk is back")
    assert caplog.text.count("the disk is away: full") == 3
    assert caplog.text.count("the disk is back") == 3
    assert caplog.text.count("sending failed") == 2, "each defect once"


def test_it_does_not_remember_without_end(caplog: pytest.LogCaptureFixture) -> None:
    said = LoggedOnce(logging.getLogger("edge_agent.test"))
    for number in range(1000):
        said.gone(f"kind {number}", "gone")
    assert len(said._standing) <= 64
