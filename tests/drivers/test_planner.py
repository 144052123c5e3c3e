from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.quality import GOOD
from drivers.errors import ProfileError
from drivers.planner import ForbiddenArea, Limits, WantedPoint, plan_blocks
from drivers.steps import FieldRef, Gate, PointStep
from drivers.words import FLOATS, REGISTERS


def wanted(
    address: int, data_type: str = "u16", *, table: str = "holding", interval_ms: int = 1000, gate_at: int | None = None
) -> WantedPoint:
    gates = ()
    if gate_at is not None:
        field = FieldRef(offset=gate_at, data_type="u16")
        gates = (Gate(field=field, kind="enum", cases=((1, 1, GOOD),)),)
    more: dict[str, Any] = {"resolution": None} if data_type in FLOATS else {}
    step = PointStep(name=f"{table}-{address}", offset=address, data_type=data_type, gates=gates, **more)
    return WantedPoint(step=step, table=table, interval_ms=interval_ms)


def shape(points: list[WantedPoint], limits: Limits) -> list[tuple[str, int, int, int]]:
    return [(b.table, b.interval_ms, b.address, b.count) for b in plan_blocks(points, limits)]


H = "holding"


@pytest.mark.parametrize(
    ("points", "limits", "blocks"),
    [
        ([], Limits(), []),
        ([wanted(0), wanted(1), wanted(2)], Limits(), [(H, 1000, 0, 3)]),
        ([wanted(2), wanted(0), wanted(1)], Limits(), [(H, 1000, 0, 3)]),
        ([wanted(0), wanted(2)], Limits(), [(H, 1000, 0, 1), (H, 1000, 2, 1)]),
        ([wanted(0), wanted(2)], Limits(max_gap=1), [(H, 1000, 0, 3)]),
        ([wanted(0), wanted(10)], Limits(max_gap=9), [(H, 1000, 0, 11)]),
        ([wanted(0), wanted(10)], Limits(max_gap=8), [(H, 1000, 0, 1), (H, 1000, 10, 1)]),
        (
            [wanted(0, "f32"), wanted(2, "f32"), wanted(4, "f32")],
            Limits(max_registers=4),
            [(H, 1000, 0, 4), (H, 1000, 4, 2)],
        ),
        ([wanted(0, "f32"), wanted(2, "f32")], Limits(max_registers=3), [(H, 1000, 0, 2), (H, 1000, 2, 2)]),
        ([wanted(0), wanted(1, interval_ms=5000)], Limits(), [(H, 1000, 0, 1), (H, 5000, 1, 1)]),
        ([wanted(0), wanted(1, table="input")], Limits(), [(H, 1000, 0, 1), ("input", 1000, 1, 1)]),
        ([wanted(3)], Limits(start_multiple=2), [(H, 1000, 2, 2)]),
        ([wanted(2, "f32", gate_at=6)], Limits(max_gap=3), [(H, 1000, 2, 5)]),
        ([wanted(2, gate_at=0), wanted(3, gate_at=0)], Limits(max_gap=2), [(H, 1000, 0, 4)]),
        (
            [wanted(0), wanted(2)],
            Limits(max_gap=5, forbidden=(ForbiddenArea(table=H, first=1, last=1),)),
            [(H, 1000, 0, 1), (H, 1000, 2, 1)],
        ),
        (
            [wanted(0), wanted(2)],
            Limits(max_gap=5, forbidden=(ForbiddenArea(table="input", first=1, last=1),)),
            [(H, 1000, 0, 3)],
        ),
        ([wanted(0, "u64"), wanted(1)], Limits(max_registers=4), [(H, 1000, 0, 4)]),
        (
            [wanted(n, "bit0", table="coil") for n in range(20)],
            Limits(max_registers=1),
            [("coil", 1000, 0, 16), ("coil", 1000, 16, 4)],
        ),
    ],
)
def test_blocks(points: list[WantedPoint], limits: Limits, blocks: list[tuple[str, int, int, int]]) -> None:
    assert shape(points, limits) == blocks


@pytest.mark.parametrize(
    ("point", "limits", "message"),
    [
        (wanted(0, gate_at=5), Limits(max_registers=4, max_gap=9), "allows 4"),
        (wanted(0, gate_at=5), Limits(max_gap=3), "hole of 4"),
        (wanted(0, "f64"), Limits(max_registers=2), "allows 2"),
        (wanted(0, "f32"), Limits(forbidden=(ForbiddenArea(table=H, first=1, last=1),)), "forbidden"),
    ],
)
def test_what_cannot_come_in_one_read_is_refused(point: WantedPoint, limits: Limits, message: str) -> None:
    with pytest.raises(ProfileError, match=message) as caught:
        plan_blocks([point, wanted(50), point], limits, source="x.toml")
    assert len(caught.value.problems) == 2
    assert caught.value.problems[0].key == f"points.{point.step.name}"


@st.composite
def _maps(draw: st.DrawFn) -> tuple[list[WantedPoint], Limits]:
    limits = Limits(
        max_registers=draw(st.integers(8, 40)),
        max_gap=draw(st.integers(0, 10)),
        start_multiple=draw(st.sampled_from([1, 2, 4])),
    )
    points = []
    for address in sorted(draw(st.sets(st.integers(0, 200), max_size=40))):
        points.append(
            wanted(
                address,
                draw(st.sampled_from(["u16", "i32", "f32", "u64"])),
                table=draw(st.sampled_from(["holding", "input"])),
                interval_ms=draw(st.sampled_from([1000, 60_000])),
            )
        )
    return points, limits


@given(_maps())
def test_laws_of_a_plan(case: tuple[list[WantedPoint], Limits]) -> None:
    points, limits = case
    blocks = plan_blocks(points, limits)
    seen = [(block.table, block.interval_ms, point.name) for block in blocks for point in block.points]
    assert sorted(seen) == sorted((point.table, point.interval_ms, point.step.name) for point in points)
    at = {point.step.name: point.step for point in points}
    for block in blocks:
        assert block.count <= limits.max_registers
        assert block.address % limits.start_multiple == 0
        assert block.points
        for point in block.points:  # whole, and where the device has it
            assert point.moved(block.address) == at[point.name]
            assert point.offset + REGISTERS[point.data_type] <= block.count
    assert plan_blocks(reversed(points), limits) == blocks


@given(_maps())
def test_a_wider_device_never_needs_more_reads(case: tuple[list[WantedPoint], Limits]) -> None:
    points, limits = case
    wide = Limits(max_registers=125, max_gap=limits.max_gap, start_multiple=limits.start_multiple)
    assert len(plan_blocks(points, wide)) <= len(plan_blocks(points, limits))
