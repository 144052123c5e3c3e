"""Features of a burst: levels and frequencies, tilt and drift, and a cause wherever there is no number."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from contracts.quality import IMPLAUSIBLE, NO_REPLY, NOT_COMPUTABLE, NOT_DISTINCT, OVER_RANGE
from edge_agent.vibration.features import Computed, angle_between, compute
from edge_agent.vibration.records import Feature
from tests.edge_agent.vibration.bursts_of import COUNTS, FEATURES, SCALES, plan, shaking


def by_name(computed: Computed) -> dict[str, float | None]:
    return {f"{f.kind}-{f.channel}": value for f, value in zip(FEATURES, computed.row, strict=True)}


def test_levels_are_those_of_scipy() -> None:
    rows = shaking(noise_g=0.02)
    found = by_name(compute(plan(), SCALES, rows))
    for axis in range(3):
        values = np.array([row[1][axis] for row in rows], dtype=np.float64) / COUNTS
        facts = stats.describe(values)
        assert found[f"mean-{axis}"] == pytest.approx(float(facts.mean), rel=1e-6, abs=1e-8)
        assert found[f"rms-{axis}"] == pytest.approx(math.sqrt(float(stats.moment(values, order=2))), rel=1e-6)
        assert found[f"p2p-{axis}"] == pytest.approx(float(facts.minmax[1] - facts.minmax[0]), rel=1e-6)
        assert found[f"peak-{axis}"] == pytest.approx(float(np.max(np.abs(values - values.mean()))), rel=1e-6)


def test_a_tone_is_found_with_jitter_and_gaps() -> None:
    """2 ms of jitter at 50 Hz, one read in nine lost, and a hole of 20 reads."""
    rows = shaking(tones=((0, 3.3, 0.05), (1, 11.2, 0.03)), jitter_us=2000, lost=lambda n: n % 9 == 0 or 500 <= n < 520)
    computed = compute(plan(), SCALES, rows)
    found = by_name(computed)
    assert computed.refused is None
    assert found["frequency-0"] == pytest.approx(3.3, abs=0.02)
    assert found["frequency-1"] == pytest.approx(11.2, abs=0.02)
    assert found["frequency-2"] is None
    assert found["rms-0"] == pytest.approx(0.05 / math.sqrt(2), rel=0.03)
    facts = dict(computed.facts)
    assert facts["rate_hz"] == pytest.approx(50.0, rel=1e-3)
    assert facts["jitter_us"] == pytest.approx(2000, rel=0.1)
    # Read 0 came before the first row, so it is no place of the grid.
    assert facts["missing"] == pytest.approx(sum(n % 9 == 0 or 500 <= n < 520 for n in range(1, 1000)), abs=1)
    assert facts["longest_gap"] == 20


@pytest.mark.parametrize("tilt_deg", [0.0, 0.5, -7.25, 44.0, 89.0, 120.0])
def test_tilt_comes_from_gravity(tilt_deg: float) -> None:
    found = by_name(compute(plan(), SCALES, shaking(tilt_deg=tilt_deg)))
    flat = math.degrees(math.asin(math.sin(math.radians(tilt_deg))))
    assert found["tilt-0"] == pytest.approx(flat, abs=0.01)
    assert found["tilt-1"] == pytest.approx(0.0, abs=0.01)
    assert found["drift-0"] == pytest.approx(abs(tilt_deg), abs=0.01)


@given(st.floats(1e-7, 179.0), st.floats(0.1, 20.0))
def test_small_angles_between_vectors_are_exact_too(degrees: float, length: float) -> None:
    turned = (length * math.sin(math.radians(degrees)), 0.0, length * math.cos(math.radians(degrees)))
    assert angle_between((0.0, 0.0, 1.0), turned) == pytest.approx(degrees, rel=1e-6)


def test_a_burst_without_gravity_has_no_tilt() -> None:
    rows = [(at, (row[0], row[1], 0), codes) for at, row, codes in shaking()]
    computed = compute(plan(), SCALES, rows)
    assert computed.codes is not None
    assert computed.row[-3:] == (None,) * 3
    assert computed.codes[-3:] == (IMPLAUSIBLE,) * 3


def test_an_axis_over_its_range_takes_its_own_features_and_the_tilt_only() -> None:
    rows = [
        (at, (None if n % 3 == 0 else row[0], *row[1:]), (OVER_RANGE, 0, 0) if n % 3 == 0 else None)
        for n, (at, row, _) in enumerate(shaking())
    ]
    computed = compute(plan(), SCALES, rows)
    assert computed.codes is not None
    assert computed.codes[:5] == (OVER_RANGE,) * 5
    assert computed.codes[5:9] == (0,) * 4
    assert computed.codes[-3:] == (OVER_RANGE,) * 3


def test_a_refused_burst_has_no_number_at_all() -> None:
    silent = compute(plan(), SCALES, shaking(lost=lambda n: True, cause=NO_REPLY))
    assert silent.codes == (NO_REPLY,) * len(FEATURES)
    broken = compute(plan(), SCALES, shaking(lost=lambda n: n % 3 == 0))
    assert broken.refused is not None
    assert broken.refused.reason == "gaps"
    for computed in (silent, broken):
        assert computed.row == (None,) * len(FEATURES)
    assert broken.codes == (NOT_COMPUTABLE,) * len(FEATURES)


def test_a_second_frequency_that_is_not_there_has_a_cause() -> None:
    wanted = tuple(Feature(kind="frequency", channel=0, rank=rank) for rank in range(3))
    computed = compute(plan(features=wanted), SCALES, shaking(tones=((0, 3.3, 0.05), (0, 9.1, 0.1))))
    assert computed.row[0] == pytest.approx(9.1, abs=0.01)
    assert computed.row[1] == pytest.approx(3.3, abs=0.01)
    assert computed.row[2] is None
    assert computed.codes == (0, 0, NOT_DISTINCT)


def test_a_window_that_only_holds_short_stretches_has_levels_and_no_spectrum() -> None:
    rows = shaking(lost=lambda n: n % 30 < 5)
    computed = compute(plan(), SCALES, rows)
    found = dict(zip(((f.kind, f.channel) for f in FEATURES), computed.codes or (), strict=True))
    assert found["frequency", 0] == NOT_COMPUTABLE
    assert found["rms", 0] == 0


@given(st.integers(0, 1000), st.floats(0, 4000), st.floats(0, 0.3))
def test_a_number_is_there_exactly_where_the_code_is_good(seed: int, jitter_us: float, share: float) -> None:
    rows = shaking(count=200, seed=seed, jitter_us=jitter_us, lost=lambda n: (n * 7919 % 1000) < share * 1000)
    computed = compute(plan(length_ms=4000), SCALES, sorted(rows, key=lambda row: row[0]))
    codes = computed.codes or (0,) * len(computed.row)
    assert all((value is None) == (code != 0) for value, code in zip(computed.row, codes, strict=True))
    # Single precision: the number judged is the number sealed.
    assert all(struct.unpack(">f", struct.pack(">f", value))[0] == value for value in computed.row if value is not None)
