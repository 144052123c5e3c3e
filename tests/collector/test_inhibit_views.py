"""Whether somebody still works on a point: by the gateway's own time, as far as it is known here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.inhibit_views import Heard, InhibitView, Stated, gateway_us, show_inhibit

S = 1_000_000
HOUR = 3600 * S
#: UTC us at monotonic 0
T0 = 1_793_491_200 * S

WORK = Stated(boot_no=1, since_us=100 * S, until_us=1000 * S, offset_us=T0, reason="bump test", by="Li Wei")
SHOWN = InhibitView(since_us=T0 + 100 * S, until_us=T0 + 1000 * S, reason="bump test", by="Li Wei")


def heard(sealed_s: int | None, delay_s: int = 0, *, boot_no: int = 1, bound_s: int | None = None) -> Heard:
    """A boot whose newest batch was so long on its way, and whose quickest so long (by default none is known)."""
    return Heard(
        boot_no=boot_no,
        sealed_us=None if sealed_s is None else sealed_s * S,
        arrived_us=None if sealed_s is None else T0 + (sealed_s + delay_s) * S,
        bound_us=None if bound_s is None else T0 + bound_s * S,
    )


@pytest.mark.parametrize(
    ("what", "known", "now_s", "is_shown"),
    [
        ("just stated", heard(101), 101, True),
        ("it runs", heard(500), 501, True),
        ("its time is up, as sealed", heard(1000), 1001, False),
        ("its time is up while the gateway is silent", heard(101), 1000, False),
        ("silent, and its time is not up", heard(101), 999, True),
        ("the newest came late", heard(101, 50), 1049, True),
        ("the newest came late, and its time is up", heard(101, 50), 1050, False),
        ("a backlog comes in: the newest here says little", heard(200, 7000, bound_s=1), 7200, False),
        ("a backlog comes in, and it runs", heard(200, 600, bound_s=1), 800, True),
        ("no batch of the boot is here any more", heard(None, bound_s=0), 500, True),
        ("no batch of the boot is here any more, and its time is up", heard(None, bound_s=0), 1001, False),
        ("the gateway has restarted", heard(5, boot_no=2), 500, False),
        ("our clock was set back", heard(500), -5000, True),
    ],
)
def test_an_inhibit_runs_from_its_begin_to_its_end_by_the_clock_of_its_boot(
    what: str, known: Heard, now_s: int, is_shown: bool
) -> None:
    assert show_inhibit(WORK, known, T0 + now_s * S) == (SHOWN if is_shown else None), what


@pytest.mark.parametrize(("since_s", "until_s"), [(100, 100), (600, 1000)])
def test_one_that_never_was_or_has_not_begun_is_none(since_s: int, until_s: int) -> None:
    stated = Stated(boot_no=1, since_us=since_s * S, until_us=until_s * S, offset_us=T0, reason="r", by="b")
    assert show_inhibit(stated, heard(100), T0 + 100 * S) is None


def test_two_clocks_that_drift_apart_over_months_end_nothing_before_its_time() -> None:
    day = 86_400
    # 400 ppm slow for 100 days: the quickest arrival, of the first day, would put its clock an hour ahead.
    sealed_s = 100 * day - 100 * day * 400 // 1_000_000
    known = heard(sealed_s, 100 * day - sealed_s, bound_s=0)
    assert gateway_us(known, T0 + 100 * day * S) == sealed_s * S


@given(
    sealed_us=st.integers(0, 10**12),
    delay_us=st.integers(0, 10**12),
    quickest_us=st.integers(0, 10**12),
    later_us=st.integers(0, 10**12),
)
def test_the_time_of_a_gateway_goes_on_and_never_beyond_what_can_be(
    sealed_us: int, delay_us: int, quickest_us: int, later_us: int
) -> None:
    quickest_us = min(quickest_us, delay_us)
    known = Heard(boot_no=1, sealed_us=sealed_us, arrived_us=T0 + sealed_us + delay_us, bound_us=T0 + quickest_us)
    came_us = T0 + sealed_us + delay_us
    then, now = gateway_us(known, came_us), gateway_us(known, came_us + later_us)
    assert sealed_us <= then <= now <= came_us + later_us - T0 - quickest_us
