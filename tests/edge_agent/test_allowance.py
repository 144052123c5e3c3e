"""The month's bytes over restarts, boots, resets and wrong clocks; and when it is told and thinned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.allowance import Usage, UsageFile, counted, level_of, month_of, newly_reached, turned
from edge_agent.link_plan import LinkPlan
from edge_agent.pacing import Level
from edge_agent.traffic import Counters

PLAN = LinkPlan(allowance_bytes=1000)
NOVEMBER_22 = 1_795_305_600_000_000  # 2026-11-22T00:00:00Z
DAY = 86_400_000_000
#: a number that no integer holds
_ENDLESS = '{"month":"","received":1e999,"sent":0,"interface":"","boot_id":"","seen_received":0,"seen_sent":0,"told":0}'


def seen(received: int, sent: int = 0) -> Counters:
    return Counters(received=received, sent=sent)


def look(usage: Usage, received: int, *, interface: str = "wwan0", boot: str = "a") -> Usage:
    return counted(usage, seen(received), interface=interface, boot_id=boot)


def test_the_first_look_counts_nothing_and_the_next_what_came_since() -> None:
    usage = look(Usage(), 5000)
    assert usage.total == 0
    assert look(usage, 5300).total == 300


def test_what_came_while_the_agent_did_not_run_counts() -> None:
    usage = look(Usage(), 100)
    assert look(usage, 900, boot="a").total == 800


@pytest.mark.parametrize(("received", "boot"), [(70, "b"), (70, "a"), (5000, "b")])
def test_counters_that_began_again_count_whole(received: int, boot: str) -> None:
    usage = look(Usage(), 100)
    assert look(usage, received, boot=boot).total == (4900 if boot == "a" and received > 100 else received)


def test_another_interface_counts_from_its_first_look() -> None:
    usage = look(look(Usage(), 100), 150)
    usage = look(usage, 70_000, interface="eth0")
    assert usage.total == 50
    assert look(usage, 70_010, interface="eth0").total == 60


@given(st.lists(st.tuples(st.integers(0, 1000), st.booleans()), max_size=40))
def test_nothing_is_counted_twice_and_nothing_is_left_out(steps: list[tuple[int, bool]]) -> None:
    """A counter that grows, and begins anew with some boots."""
    usage, counter, boot, expected = look(Usage(), 0, boot="0"), 0, 0, 0
    for more, reboots in steps:
        if reboots:
            boot, counter = boot + 1, 0
        counter += more
        expected += more
        usage = look(usage, counter, boot=str(boot))
    assert usage.total == expected


@pytest.mark.parametrize(
    ("days", "billing_day", "month"),
    [
        (0, 1, "2026-11-01"),
        (0, 22, "2026-11-22"),
        (0, 23, "2026-10-23"),
        (40, 1, "2027-01-01"),
        (45, 28, "2026-12-28"),
    ],
)
def test_the_month_of_the_bill(days: int, billing_day: int, month: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        assert month_of(NOVEMBER_22 + days * DAY, billing_day) == month
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_later_month_begins_at_nothing_and_an_earlier_one_keeps_what_was_counted() -> None:
    usage = Usage(month="2026-11-01", received=700, sent=50, told=0.5)
    assert turned(usage, "2026-11-01") == usage
    assert turned(usage, "2026-12-01") == Usage(month="2026-12-01")
    back = turned(usage, "2026-10-01")
    assert (back.month, back.total, back.told) == ("2026-10-01", 750, 0.5)
    assert turned(Usage(received=9), "2026-11-01").total == 9


@pytest.mark.parametrize(
    ("used", "level", "told"),
    [
        (499, Level.ENOUGH, None),
        (500, Level.ENOUGH, 0.5),
        (899, Level.ENOUGH, 0.8),
        (900, Level.NEARLY_USED, 0.9),
        (999, Level.NEARLY_USED, 0.9),
        (1000, Level.USED_UP, 1.0),
        (5000, Level.USED_UP, 1.0),
    ],
)
def test_levels_and_what_is_told(used: int, level: Level, told: float | None) -> None:
    usage = Usage(received=used)
    assert level_of(used, PLAN) is level
    assert newly_reached(usage, PLAN) == told
    if told is not None:
        assert newly_reached(replace(usage, told=told), PLAN) is None


def test_without_an_allowance_nothing_is_ever_told_or_thinned() -> None:
    assert newly_reached(Usage(received=1 << 50), LinkPlan()) is None
    assert level_of(1 << 50, LinkPlan()) is Level.ENOUGH


class _File:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "traffic.json"
        self.file = UsageFile(self.path)

    def kept(self) -> Usage:
        return UsageFile(self.path).read()


def test_the_file_is_written_seldom(tmp_path: Path) -> None:
    it = _File(tmp_path)
    assert it.file.read() == Usage()
    usage = Usage(month="2026-11-01", interface="wwan0", boot_id="a", seen=seen(1))
    it.file.offer(usage, 0)
    assert it.kept() == usage, "a new month or interface is kept at once"
    more = replace(usage, received=2_000_000)
    it.file.offer(more, 1_000_000)
    assert it.kept() == usage
    it.file.offer(more, 601_000_000)
    assert it.kept() == more
    little = replace(more, sent=10)
    it.file.offer(little, 1_300_000_000)
    assert it.kept() == more
    it.file.offer(little, 601_000_000 + 3_600_000_000)
    assert it.kept() == little
    last = replace(little, sent=20)
    it.file.offer(last, 4_300_000_000, is_last=True)
    assert it.kept() == last


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"month": 1}', "\xff", _ENDLESS])
def test_a_file_that_cannot_be_read_counts_from_now_on(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    it = _File(tmp_path)
    it.path.write_bytes(text.encode("latin-1"))
    assert it.file.read() == Usage()
    assert "cannot be read" in caplog.text


def test_a_disk_that_takes_nothing_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "no folder").write_text("a file")
    file = UsageFile(tmp_path / "no folder" / "traffic.json")
    for number in range(3):
        file.offer(Usage(month=f"2026-1{number}-01"), number)
    assert caplog.text.count("cannot be kept") == 1
