"""What a reload has to touch, and whose grid stays where it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.compile import compile_site
from edge_agent.plan import Plan
from edge_agent.plan_diff import difference, keep_phases, same_bursts, same_rows, widest_gap
from tests.edge_agent.site_files import GATEWAY, PORTS, write_site
from tests.edge_agent.test_site_bursts import BURST, PIER

PORT = '[[port]]\nid = "{0}"\nkind = "serial"\ndevice = "{0}"\nbaud = {1}\n'
DEVICE = '[[device]]\nid = "{0}"\nport = "{1}"\nunit_id = {2}\nprofile = "{4}"\ninterval_s = {3}\n'
LISTEN = "listen_only = true\n"


def _plan(folder: Path, *parts: str) -> Plan:
    folder.mkdir(exist_ok=True)
    return compile_site(write_site(folder, GATEWAY + "".join(parts))).plan


def _port(id: str, baud: int = 9600) -> str:
    # Relative to the site file, so the same name has another path in another folder.
    return PORT.format(id, baud).replace(f'device = "{id}"', f'device = "/dev/{id}"')


def _device(id: str, port: str, unit: int, interval_s: float = 2.0, profile: str = "keller-30") -> str:
    return DEVICE.format(id, port, unit, interval_s, profile)


A, B = _port("a"), _port("b")
D1, D2, D3 = _device("d1", "a", 1), _device("d2", "a", 2), _device("d3", "b", 1)


@pytest.mark.parametrize(
    ("what", "new", "same", "handed", "closed", "devices"),
    [
        ("nothing", (A, B, D1, D2, D3), "ab", "", "", ("", "", "")),
        ("another order", (B, A, D3, D2, D1), "b", "a", "", ("", "", "")),
        ("one added", (A, B, D1, D2, _device("d4", "a", 4), D3), "b", "a", "", ("d4", "", "")),
        ("one removed", (A, B, D1, D3), "b", "a", "", ("", "d2", "")),
        ("one changed", (A, B, D1, _device("d2", "a", 9), D3), "b", "a", "", ("", "", "d2")),
        ("one moved", (A, B, D1, _device("d2", "b", 9), D3), "", "ab", "", ("", "", "d2")),
        ("another line speed", (_port("a", 19200), B, D1, D2, D3), "b", "", "a", ("", "", "d1 d2")),
        ("a port less", (A, D1, D2), "a", "", "b", ("", "d3", "")),
        ("all devices of a port less", (A, B, D3), "b", "", "a", ("", "d1 d2", "")),
        ("a port more", (A, B, _port("c"), D1, D2, D3, _device("d5", "c", 1)), "ab", "", "", ("d5", "", "")),
        ("only listened to", (A + LISTEN, B, D1, D2, D3), "b", "", "a", ("", "", "d1 d2")),
    ],
)
def test_what_a_change_touches(
    tmp_path: Path, what: str, new: tuple[str, ...], same: str, handed: str, closed: str, devices: tuple[str, str, str]
) -> None:
    old = _plan(tmp_path / "old", A, B, D1, D2, D3)
    fresh = keep_phases(old, _plan(tmp_path / "new", *new))
    found = difference(old, fresh)
    assert "".join(sorted(found.same)) == same, what
    assert "".join(sorted(found.handed)) == handed, what
    assert "".join(sorted(found.closed)) == closed, what
    assert tuple(" ".join(sorted(ids)) for ids in (found.added, found.removed, found.changed)) == devices, what


def test_a_device_more_leaves_the_grid_of_the_others_where_it_was(tmp_path: Path) -> None:
    old = _plan(tmp_path / "old", A, D1, D2)
    spread = _plan(tmp_path / "new", A, _device("d0", "a", 7), D1, D2)
    new = keep_phases(old, spread)
    phases = {(new.devices[block.device].id, block.read): block.phase_ms for block in new.blocks}
    for block in old.blocks:
        assert phases[old.devices[block.device].id, block.read] == block.phase_ms
    assert len({block.phase_ms for block in new.blocks}) == len(new.blocks), "the new one has a moment of its own"
    assert keep_phases(new, spread).hash == new.hash, "compiling the same file again changes nothing"
    assert [block.phase_ms for block in spread.blocks] != [block.phase_ms for block in new.blocks]


def test_a_changed_interval_is_no_kept_phase(tmp_path: Path) -> None:
    old = _plan(tmp_path / "old", A, D1, D2)
    new = keep_phases(old, _plan(tmp_path / "new", A, _device("d1", "a", 1, 5.0), D2))
    assert all(block.phase_ms < block.interval_ms for block in new.blocks)


def test_rows_that_mean_the_same_are_found_whatever_their_number(tmp_path: Path) -> None:
    old, new = _plan(tmp_path / "old", A, B, D1, D3), _plan(tmp_path / "new", B, A, D3, D1)
    found = same_rows(old, new)
    assert sorted(found) == sorted(found.values()) == list(range(len(old.blocks)))
    keys = [[plan.points[number].key for number in block.points] for plan in (old, new) for block in plan.blocks]
    assert all(keys[before] == keys[len(old.blocks) + after] for before, after in found.items())
    other = replace(new, points=tuple(replace(point, kind="f64") for point in new.points))
    assert same_rows(old, other) == {}


@given(st.integers(1, 10_000), st.data())
def test_the_widest_gap_is_farthest_from_everybody(interval_ms: int, data: st.DataObject) -> None:
    phases = data.draw(st.lists(st.integers(0, interval_ms - 1), min_size=1, max_size=8))
    found = widest_gap(phases, interval_ms)
    assert 0 <= found < interval_ms

    def nearest(at: int) -> int:
        return min(min((at - phase) % interval_ms, (phase - at) % interval_ms) for phase in phases)

    assert nearest(found) >= max(nearest(at) for at in range(0, interval_ms, max(1, interval_ms // 50))) - 1


def test_a_burst_goes_on_unless_something_about_it_changed(tmp_path: Path) -> None:
    def plan(name: str, text: str) -> Plan:
        folder = tmp_path / name
        folder.mkdir()
        return compile_site(write_site(folder, text.replace('device = "bus-1"', 'device = "/dev/bus-1"'))).plan

    text = GATEWAY + PORTS + PIER + BURST
    old = plan("old", text)
    assert len(old.bursts) == 1
    assert same_bursts(old, plan("renamed", text.replace("Test gateway", "Renamed")))
    assert not same_bursts(old, plan("rate", text.replace("every_s", "waveform = false\nevery_s")))
    assert not same_bursts(old, plan("more", text + _device("d9", "bus-1", 9))), "its rows have another number"
    assert not same_bursts(old, plan("less", text.replace(BURST, "")))
