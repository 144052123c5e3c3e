from __future__ import annotations

import pytest

from benchmarks.soak import kinds, missing_ticks, slope


@pytest.mark.parametrize(
    ("times", "missing"),
    [([], 0), ([5], 0), ([5, 15, 25], 0), ([5, 22, 25], 0), ([5, 25], 1), ([5, 14, 25, 55], 2)],
)
def test_a_late_poll_is_no_missing_tick(times: list[int], missing: int) -> None:
    assert missing_ticks(times, 10) == missing


def test_a_slope_is_of_what_comes_after_the_warm_up() -> None:
    samples = [(0.0, 90.0), *((3600.0 * hour, 40.0 + 2 * hour) for hour in range(1, 5))]
    assert slope(samples, 1.0) == pytest.approx(2.0)
    assert slope(samples, 3600.0 * 4) is None


def test_what_grows_is_told_by_kind() -> None:
    samples = [(3600.0 * hour, {"heap": 9.0, "anonymous": 20.0 + hour}) for hour in range(4)]
    assert dict(kinds([*samples, (3600.0 * 4, {"heap": 9.0, "anonymous": 24.0})], 0.0)) == {
        "anonymous": pytest.approx(1.0),
        "heap": pytest.approx(0.0),
    }
