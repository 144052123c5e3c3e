"""The benchmarks' site compiles, with limits on every point, and the bare client packs what it reads."""

from __future__ import annotations

from pathlib import Path

from benchmarks.bare_client import columns
from benchmarks.bench_site import ALARM_POINT, ALARM_VALUE, REGISTERS, Load, site_text
from contracts.keys import Signer
from edge_agent.compile import compile_site


def test_the_site_compiles(tmp_path: Path) -> None:
    load = Load(devices=3, interval_s=0.5)
    key = Signer.from_seed(bytes(32)).public.line("collector")
    path = tmp_path / "site.toml"
    path.write_text(site_text(load, state_dir=tmp_path / "state", bank_port=15020, broker_port=1883, collector_key=key))
    compiled = compile_site(path)
    (warning,) = compiled.warnings  # nobody confirmed a benchmark's limits
    assert "their alarms are marked trial" in warning
    assert len(compiled.plan.points) == 3 * REGISTERS
    assert all(len(point.rules.limits) == 2 for point in compiled.plan.points)
    assert {block.interval_ms for block in compiled.plan.blocks} == {500}
    high = max(float(rule.value) for rule in compiled.plan.points[ALARM_POINT - 1].rules.limits)
    assert high < ALARM_VALUE
    assert load.readings_per_s == 120


def test_the_bare_client_packs_differences() -> None:
    assert columns(4, 1000, [(900, [5, 6]), (950, [7, 6])]) == [4, [-100, 50], [5, 6, 2, 0]]
