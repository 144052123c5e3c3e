"""The clock's states, its uncertainty, and the last known good time; every clock is virtual."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.batch import Anchor, ClockState
from edge_agent.clock import DRIFT_PPM, NEVER_BEFORE_US, AnchorClock, kernel_discipline
from edge_agent.last_good_time import LastGoodTime

S = 1_000_000
HOUR, DAY = 3600 * S, 86_400 * S
#: true UTC at monotonic 0
TRUE_US = NEVER_BEFORE_US + 300 * DAY
UNSET, FREE, NTP, SIGNED = (
    ClockState.UNSET,
    ClockState.FREE_RUNNING,
    ClockState.SYNCHRONISED,
    ClockState.COLLECTOR,
)


@dataclass
class Quartz:
    """True time, a monotonic clock that drifts from it, and a wall clock that anybody may step."""

    drift_ppm: float = 0.0
    off_us: int = 0
    is_disciplined: bool = False
    error_ms: int = 20
    last_good_us: int = NEVER_BEFORE_US
    true_since_us: int = 0

    def __post_init__(self) -> None:
        self.clock = AnchorClock(
            monotonic=self.mono, wall=lambda: self.true_us() + self.off_us,
            discipline=lambda: (self.is_disciplined, self.error_ms), last_good_us=lambda: self.last_good_us,
        )  # fmt: skip

    def mono(self) -> int:
        return self.true_since_us + int(self.true_since_us * self.drift_ppm / 1e6)

    def true_us(self) -> int:
        return TRUE_US + self.true_since_us

    def pass_us(self, us: int) -> None:
        self.true_since_us += us

    def ask_collector(self, *, there_us: int = 20_000, back_us: int = 20_000) -> None:
        sent_us = self.mono()
        self.pass_us(there_us)
        signed_us = self.true_us()
        self.pass_us(back_us)
        self.clock.learn(sent_us=sent_us, received_us=self.mono(), wall_us=signed_us)

    def check(self) -> Anchor:
        """The anchor's own uncertainty holds."""
        anchor = self.clock.anchor()
        assert anchor.mono_us == self.mono()
        if anchor.uncertainty_ms is not None:
            assert abs(anchor.wall_us - self.true_us()) <= anchor.uncertainty_ms * 1000 + 1000
        return anchor


def test_a_boot_in_1970_then_the_collector_then_ntp() -> None:
    quartz = Quartz(off_us=-TRUE_US + 5 * S)
    assert (quartz.check().state, quartz.check().uncertainty_ms) == (UNSET, None)
    assert quartz.clock.wants_time()
    quartz.ask_collector()
    anchor = quartz.check()
    assert (anchor.state, anchor.uncertainty_ms) == (SIGNED, 20)
    quartz.pass_us(HOUR)
    assert quartz.check().uncertainty_ms == 20 + 3600 * DRIFT_PPM // 1000
    quartz.off_us, quartz.is_disciplined = 0, True
    quartz.pass_us(11 * S)
    assert (quartz.check().state, quartz.check().uncertainty_ms) == (NTP, 20)


def test_a_clock_that_goes_on_from_a_saved_time_is_free_running_and_of_unknown_certainty() -> None:
    quartz = Quartz(off_us=-40 * DAY, last_good_us=TRUE_US - 40 * DAY)
    assert (quartz.check().state, quartz.check().uncertainty_ms) == (FREE, None)
    bounds = quartz.clock.bounds()
    assert (bounds.earliest_us, bounds.latest_us) == (TRUE_US - 40 * DAY, None), "it can only be later"
    quartz.off_us = -41 * DAY
    assert quartz.check().state is UNSET, "behind the last known good time: proved wrong"
    assert quartz.clock.bounds().earliest_us == TRUE_US - 40 * DAY


@pytest.mark.parametrize("off_us", [-S, S, -HOUR, HOUR, -100 * DAY, 100 * DAY, -365 * DAY, 365 * DAY])
def test_a_step_after_something_vouched_moves_nothing(off_us: int) -> None:
    for vouch in ("ntp", "collector"):
        quartz = Quartz(is_disciplined=vouch == "ntp")
        if vouch == "collector":
            quartz.ask_collector()
        quartz.check()
        quartz.is_disciplined = False
        quartz.pass_us(20 * S)  # the kernel is asked now and then
        before = quartz.check()
        quartz.off_us = off_us
        quartz.pass_us(S)
        after = quartz.check()
        assert after.state is (FREE if vouch == "ntp" else SIGNED)
        assert after.wall_us - before.wall_us == after.mono_us - before.mono_us
        assert after.uncertainty_ms is not None


@pytest.mark.parametrize("drift_ppm", [-499, -100, 100, 499])
def test_seven_days_of_drift_stay_within_what_is_stated(drift_ppm: float) -> None:
    quartz = Quartz(drift_ppm=drift_ppm)
    quartz.ask_collector()
    for _ in range(7 * 24):
        quartz.pass_us(HOUR)
        quartz.check()
    stated_ms = quartz.check().uncertainty_ms
    assert stated_ms is not None
    assert stated_ms <= 7 * 86_400 * 500 // 1000 * 1.001 + 20
    # With a link it is asked again, and stays within seconds.
    quartz.ask_collector()
    for _ in range(7 * 24 * 6):
        quartz.pass_us(HOUR // 6)
        if quartz.clock.wants_time():
            quartz.ask_collector()
        assert (quartz.check().uncertainty_ms or 0) <= 2_400


def test_a_clock_that_is_set_by_hand_is_not_believed_even_for_ten_seconds() -> None:
    quartz = Quartz(is_disciplined=True)
    quartz.check()
    quartz.off_us, quartz.is_disciplined = 365 * DAY, False  # settimeofday(2) ends the discipline
    quartz.pass_us(S)
    assert quartz.check().state is FREE


def test_a_leap_second_is_a_step_of_one_second() -> None:
    quartz = Quartz(is_disciplined=True)
    quartz.check()
    quartz.off_us = -S  # inserted; the kernel says so and the discipline goes on
    quartz.pass_us(S)
    quartz.clock.anchor()
    quartz.off_us = 0
    quartz.pass_us(S)
    assert quartz.check().state is NTP


def test_a_wall_clock_beyond_belief_is_unset_and_never_makes_a_batch_unreadable() -> None:
    for off_us in (300 * 365 * DAY, 100_000 * 365 * DAY, -TRUE_US - 5 * S):
        quartz = Quartz(off_us=off_us, is_disciplined=True)
        anchor = quartz.clock.anchor()
        assert anchor.state is UNSET
        assert 0 <= anchor.wall_us < 1 << 53


def test_the_better_known_time_stays() -> None:
    quartz = Quartz(is_disciplined=True, error_ms=5)
    quartz.check()
    quartz.is_disciplined = False
    quartz.pass_us(20 * S)
    quartz.ask_collector(there_us=3 * S, back_us=0)
    assert quartz.check().state is FREE, "NTP a moment ago is better than an answer that took seconds"
    quartz.pass_us(DAY)
    quartz.ask_collector()
    assert quartz.check().state is SIGNED


def test_the_collector_is_asked_when_it_helps_and_ever_more_seldom_while_it_does_not_answer() -> None:
    quartz = Quartz(off_us=-TRUE_US)
    asked = []
    for _ in range(120):
        if quartz.clock.wants_time():
            asked.append(quartz.true_since_us // (60 * S))
        quartz.pass_us(30 * S)
    assert asked == [0, 1, 3, 7, 15, 25, 35, 45, 55]
    quartz.off_us, quartz.is_disciplined = 0, True
    quartz.pass_us(HOUR)
    assert not quartz.clock.wants_time()


@given(
    st.floats(-499, 499),
    st.lists(st.tuples(st.sampled_from(["ntp", "lost", "ask", "step", "wait"]), st.integers(0, 3 * DAY)), max_size=12),
)
def test_whatever_happens_what_is_stated_holds(drift_ppm: float, story: list[tuple[str, int]]) -> None:
    quartz = Quartz(drift_ppm=drift_ppm)
    for what, amount in story:
        match what:
            case "ntp":
                quartz.off_us, quartz.is_disciplined = amount % 15_000, True
            case "lost":
                quartz.is_disciplined = False
            case "ask":
                quartz.ask_collector(there_us=amount % 300_000, back_us=amount % 170_000)
            case "step" if not quartz.is_disciplined:
                quartz.off_us = amount - DAY
            case _:
                quartz.pass_us(amount)
        if not quartz.is_disciplined:
            quartz.pass_us(11 * S)
            quartz.clock.anchor()
        quartz.check()


def test_the_kernel_answers_here() -> None:
    is_disciplined, error_ms = kernel_discipline()
    assert isinstance(is_disciplined, bool)
    assert error_ms is None or error_ms >= 1


def good(wall_us: int, state: ClockState = NTP) -> Anchor:
    return Anchor(mono_us=0, wall_us=wall_us, state=state, uncertainty_ms=0)


def test_the_last_good_time_is_written_seldom_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "last_good_time.json"
    kept = LastGoodTime(path)
    assert kept.us() == NEVER_BEFORE_US
    assert not kept.offer(good(TRUE_US, FREE))
    assert not kept.offer(good(TRUE_US, UNSET))
    writes = sum(kept.offer(good(TRUE_US + minute * 60 * S)) for minute in range(3 * 24 * 60))
    assert writes == 12, "four a day"
    assert LastGoodTime(path).us() == kept.us() >= TRUE_US + 2 * DAY
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_kept_time_that_was_wrong_is_corrected_by_one_that_is_vouched_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "last_good_time.json"
    LastGoodTime(path).offer(good(TRUE_US + 4000 * DAY))
    again = LastGoodTime(path)
    assert not again.offer(good(TRUE_US, FREE))
    with caplog.at_level(logging.WARNING):
        assert again.offer(good(TRUE_US, SIGNED))
    assert "corrected" in caplog.text
    assert LastGoodTime(path).us() == TRUE_US


@pytest.mark.parametrize("content", ["", "{", "[]", '{"utc_us": "x"}', '{"utc_us": true}', '{"utc_us": 9e99}', "null",
                                     '{"utc_us": 99999999999999999999}', '{"utc_us": -5}', "\x00" * 40])  # fmt: skip
def test_a_damaged_file_is_the_time_when_the_program_was_made(tmp_path: Path, content: str) -> None:
    path = tmp_path / "last_good_time.json"
    path.write_text(content)
    assert LastGoodTime(path).us() == NEVER_BEFORE_US


def test_a_disk_that_takes_nothing_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    kept = LastGoodTime(tmp_path / "file" / "no_folder.json")
    for day in range(5):
        kept.offer(good(TRUE_US + day * DAY))
    assert caplog.text.count("cannot be kept") == 1
    assert kept.us() == TRUE_US + 4 * DAY
