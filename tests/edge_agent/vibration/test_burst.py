"""The fit of a burst's rows: true rate, jitter and gaps, and every reason to refuse."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.quality import GOOD, NO_REPLY, NOT_COMPUTABLE, OVER_RANGE
from edge_agent.vibration.burst import LEAST_ROWS, Refused, Series, Tick, fit


def rows_at(times: list[int]) -> list[Tick]:
    """One channel that counts the rows."""
    return [(time, (number,), None) for number, time in enumerate(times)]


def steady(count: int, step_us: float, *, start_us: int = 5_000_000) -> list[int]:
    return [start_us + round(number * step_us) for number in range(count)]


def fitted(rows: list[Tick], wanted_us: int) -> Series:
    found = fit(rows, wanted_us=wanted_us)
    assert isinstance(found, Series), found
    return found


def test_steady_rows_give_their_own_rate_not_the_one_that_was_wanted() -> None:
    series = fitted(rows_at(steady(500, 20_037)), 10_000_000)
    assert series.rate_hz == pytest.approx(1e6 / 20_037, rel=1e-9)
    assert series.places == tuple(range(500))
    assert (series.missing, series.longest_gap) == (0, 0)
    assert series.jitter_us < 1


def test_the_rate_survives_jitter_and_gaps() -> None:
    noise = random.Random(1)
    times = [time + round(noise.gauss(0, 1000)) for time in steady(1000, 10_000)]
    kept = [time for number, time in enumerate(times) if number % 17 and not 300 <= number < 330]
    series = fitted(rows_at(kept), 10_000_000)
    assert series.rate_hz == pytest.approx(100.0, rel=2e-4)
    assert series.jitter_us == pytest.approx(1000, rel=0.15)
    assert series.longest_gap in (30, 31)
    # The first row, of number 1, has place 0.
    assert series.places == tuple(n - 1 for n in range(1000) if n % 17 and not 300 <= n < 330)
    assert series.missing == 1000 - len(kept)


def test_one_late_row_moves_no_other() -> None:
    times = steady(200, 10_000)
    times[100] += 6_000  # over half a step: an ordinary poll came first
    series = fitted(rows_at(times), 2_000_000)
    assert series.rate_hz == pytest.approx(100.0, rel=1e-3)
    others = [place for row, place in enumerate(series.places) if series.columns[0][row] != 100]
    assert others == [number for number in range(200) if number != 100]
    assert series.length == 200


def test_rows_that_skip_every_other_tick_have_half_the_rate() -> None:
    """A line that needs 28 ms for a read that was wanted every 20 ms gives one every 40 ms."""
    series = fitted(rows_at(steady(250, 40_000)), 10_000_000)
    assert series.rate_hz == pytest.approx(25.0)
    assert series.missing == 0


def test_a_row_without_a_number_is_a_gap_and_one_with_some_is_not() -> None:
    rows: list[Tick] = [(time, (1, 2), None) for time in steady(100, 10_000)]
    rows[10] = (rows[10][0], (None, None), (NO_REPLY, NO_REPLY))
    rows[20] = (rows[20][0], (1, None), (GOOD, OVER_RANGE))
    series = fitted(rows, 1_000_000)
    assert (series.missing, series.longest_gap) == (1, 1)
    assert series.columns[1][19] is None
    assert series.codes[0] is None
    assert series.codes[1] is not None
    assert series.codes[1][19] == OVER_RANGE


@pytest.mark.parametrize(
    ("rows", "wanted_us", "reason", "code"),
    [
        ([], 1_000_000, "silent", NOT_COMPUTABLE),
        ([(n, (None,), (NO_REPLY,)) for n in range(5)], 1_000_000, "silent", NO_REPLY),
        (rows_at(steady(LEAST_ROWS - 1, 10_000)), 600_000, "few", NOT_COMPUTABLE),
        (rows_at([7] * 200), 0, "few", NOT_COMPUTABLE),
        (rows_at(steady(400, 10_000)), 10_000_000, "short", NOT_COMPUTABLE),
        (rows_at(steady(600, 10_000)), 10_000_000, "gaps", NOT_COMPUTABLE),
        (rows_at([t for n, t in enumerate(steady(1000, 10_000)) if n % 4]), 10_000_000, "gaps", NOT_COMPUTABLE),
        (rows_at([t + n % 2 * 4_500 for n, t in enumerate(steady(500, 10_000))]), 5_000_000, "jitter", NOT_COMPUTABLE),
    ],
)
def test_a_burst_is_refused_with_its_reason(rows: list[Tick], wanted_us: int, reason: str, code: int) -> None:
    found = fit(rows, wanted_us=wanted_us)
    assert isinstance(found, Refused)
    assert (found.reason, found.code) == (reason, code)
    assert found.detail


@given(
    st.integers(LEAST_ROWS + 10, 400),
    st.floats(1_000, 200_000),
    st.integers(0, 2**40),
    st.lists(st.floats(-0.12, 0.12), min_size=400, max_size=400),
    st.sets(st.integers(1, 398), max_size=6),
)
def test_every_row_of_a_jittered_grid_finds_its_place(
    count: int, step_us: float, start_us: int, beside: list[float], lost: set[int]
) -> None:
    times = [round(start_us + (n + beside[n]) * step_us) + 1_000_000 for n in range(count)]
    kept = [n for n in range(count) if n not in lost]
    found = fit(rows_at([times[n] for n in kept]), wanted_us=int(count * step_us))
    assert isinstance(found, Series), found
    assert found.places == tuple(n - kept[0] for n in kept)
    assert found.step_us == pytest.approx(step_us, rel=0.12 * 4 / count + 1e-3)
    assert found.worst_us <= 0.3 * step_us


@given(st.lists(st.integers(0, 2**40), max_size=200), st.integers(1, 2**32))
def test_any_times_at_all_give_a_series_or_a_reason(times: list[int], wanted_us: int) -> None:
    found = fit(rows_at(sorted(times)), wanted_us=wanted_us)
    if isinstance(found, Series):
        assert len(set(found.places)) == len(found.places)
        assert list(found.places) == sorted(found.places)
        assert len(found.places) + found.missing >= found.length
