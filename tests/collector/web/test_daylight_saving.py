"""Summer time begins and ends: every moment on the page stays one moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

import pytest

from collector.web import words

S = 1_000_000
#: 2026-03-29 and 2026-10-25, 01:00 UTC: when clocks in central Europe are changed
BEGINS_US, ENDS_US = (
    int(datetime(2026, month, day, 1, tzinfo=UTC).timestamp()) * S for month, day in ((3, 29), (10, 25))
)


class CentralEurope(tzinfo):
    """Without the machine's table of zones, which a small system may lack."""

    def fromutc(self, at: datetime) -> datetime:
        us = int(at.replace(tzinfo=UTC).timestamp()) * S
        hours = 2 if BEGINS_US <= us < ENDS_US else 1
        return (at + timedelta(hours=hours)).replace(fold=int(ENDS_US <= us < ENDS_US + 3600 * S))

    def utcoffset(self, at: datetime | None) -> timedelta:
        assert at is not None
        local_us = int(at.replace(tzinfo=UTC).timestamp()) * S
        is_summer = BEGINS_US + 7200 * S <= local_us < ENDS_US + 7200 * S + (3600 * S if not at.fold else 0)
        return timedelta(hours=2 if is_summer and not at.fold else 1)

    def dst(self, at: datetime | None) -> timedelta:
        return self.utcoffset(at) - timedelta(hours=1)

    def tzname(self, at: datetime | None) -> str:
        return "CEST" if self.dst(at) else "CET"


@pytest.mark.parametrize(
    ("us", "shown", "offset"),
    [
        (BEGINS_US - S, "03-29 01:59:59", "UTC+01:00"),
        (BEGINS_US, "03-29 03:00:00", "UTC+02:00"),
        (ENDS_US - S, "10-25 02:59:59", "UTC+02:00"),
        (ENDS_US, "10-25 02:00:00", "UTC+01:00"),
    ],
)
def test_the_hour_that_is_there_twice_or_never_is_told_by_its_offset(us: int, shown: str, offset: str) -> None:
    zone = CentralEurope()
    assert words.time_words(us, zone) == shown
    assert words.offset_words(us, zone) == offset


def test_no_two_moments_look_the_same_with_their_offset() -> None:
    zone = CentralEurope()
    for change_us in (BEGINS_US, ENDS_US):
        moments = range(change_us - 7200 * S, change_us + 7200 * S, 600 * S)
        shown = [(words.date_words(us, zone), words.offset_words(us, zone)) for us in moments]
        assert len(set(shown)) == len(shown)
        minutes = [words.offset_minutes(us, zone) for us in moments]
        assert sorted(set(minutes)) == [60, 120]
