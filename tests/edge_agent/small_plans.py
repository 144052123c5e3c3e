"""Plan records for tests: short to write, complete in content."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from drivers.plan import BlockRead, PointStep
from edge_agent.plan import BlockPlan, Plan, PointPlan, SpoolPlan, UplinkPlan
from edge_agent.plan_ports import DevicePlan, PortPlan
from rules import Confirmation, Direction, LimitRule, Mark, PointRules, Severity, SilenceRule

#: without it every event would carry the mark ``trial``
CONFIRMED = Confirmation(by="Li Wei", at="2026-11-20", document="limits.pdf", digest=bytes(32))
#: to nowhere
UPLINK = UplinkPlan(
    host="",
    port=0,
    tls_ca="",
    username="",
    password_file="",
    seal_interval_s=2.0,
    metered=False,
    collector_keys=(),
    backlog_share=0.5,
)


def plan(
    *,
    ports: Sequence[PortPlan] = (),
    devices: Sequence[DevicePlan] = (),
    blocks: Sequence[BlockPlan] = (),
    points: Sequence[PointPlan] = (),
    uplink: UplinkPlan = UPLINK,
    **parts: Any,
) -> Plan:
    """Returns a plan of these parts; ``parts`` are other fields of the record."""
    return Plan(
        en="test",
        zh="测试",
        ports=tuple(ports),
        devices=tuple(devices),
        blocks=tuple(blocks),
        points=tuple(points),
        uplink=uplink,
        spool=SpoolPlan(quota_bytes=1, reserve_bytes=0, retention_days=1),
        inputs=(),
        version="test",
        **parts,
    )


def device(id: str = "d1", *, unit_id: int = 1, port: int = 0, max_reply_s: float = 1.0, gap_ms: int = 0) -> DevicePlan:
    """Returns a device of the profile ``plain``."""
    return DevicePlan(
        id=id,
        en=id,
        zh=id,
        port=port,
        unit_id=unit_id,
        profile="plain",
        profile_hash=bytes(32),
        serial="",
        max_reply_s=max_reply_s,
        min_request_gap_ms=gap_ms,
    )


def read(offsets: Sequence[int] = (0,), *, interval_ms: int = 1000, address: int = 0) -> BlockRead:
    """Returns a read of one u16 point at each offset."""
    points = tuple(PointStep(name=f"p{offset}", offset=offset, data_type="u16") for offset in offsets)
    return BlockRead(table="holding", address=address, count=max(offsets) + 1, interval_ms=interval_ms, points=points)


def block(
    *,
    device: int = 0,
    first_point: int = 0,
    offsets: Sequence[int] = (0,),
    interval_ms: int = 1000,
    phase_ms: int = 0,
    is_alarm: bool = False,
    address: int = 0,
) -> BlockPlan:
    """Returns a block whose points are numbered from ``first_point``."""
    return BlockPlan(
        device=device,
        read=read(offsets, interval_ms=interval_ms, address=address),
        points=tuple(range(first_point, first_point + len(offsets))),
        interval_ms=interval_ms,
        phase_ms=phase_ms,
        is_alarm=is_alarm,
    )


def limit(
    name: str = "H1",
    value: float = 10.0,
    *,
    direction: Direction = Direction.HIGH,
    deadband: float = 0.0,
    on_delay_s: float = 0.0,
    off_delay_s: float = 0.0,
    latch: bool = False,
    severity: Severity = Severity.RED,
) -> LimitRule:
    """Returns a limit in kPa."""
    return LimitRule(
        id=f"test.v1/{name}",
        en=f"limit {name}",
        zh=f"限值 {name}",
        direction=direction,
        value=value,
        unit="kPa",
        deadband=deadband,
        on_delay_s=on_delay_s,
        off_delay_s=off_delay_s,
        latch=latch,
        severity=severity,
        scheme="test levels",
        basis="a number for tests",
        mark=Mark.DEFAULT,
    )


def point(
    key: str = "d1/pressure",
    *limits: LimitRule,
    silence_s: float | None = None,
    resolution: str = "1/10",
    kind: str = "int",
    gas: bool = False,
) -> PointPlan:
    """Returns a pressure point in kPa, counted in tenths unless said otherwise."""
    silence = None if silence_s is None else SilenceRule(after_s=silence_s)
    return PointPlan(
        key=key,
        quantity="pressure",
        unit="kPa",
        kind=kind,
        resolution=Fraction(resolution) if kind == "int" else Fraction(1),
        low=None,
        high=None,
        longest_silence_ms=10_000,
        device=0,
        en="pressure",
        zh="压力",
        rules=PointRules(limits=tuple(limits), silence=silence, gas=gas, confirmed=CONFIRMED),
    )
