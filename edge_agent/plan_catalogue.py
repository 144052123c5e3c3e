"""From a plan to the catalogue: the signed document that explains this gateway's batches to a collector.

Pure.  Numbers of points and blocks are their places in the plan, so that both speak of the same.
"""

from __future__ import annotations

from contracts.catalogue import (
    Catalogue,
    CatalogueBlock,
    CatalogueDevice,
    CatalogueLimit,
    CataloguePoint,
)
from edge_agent.plan import Plan, PointPlan
from rules.point_state import PointRules


def catalogue(plan: Plan, gateway_id: str) -> Catalogue:
    """Returns the document that explains this plan's data batches to a collector."""
    # Many points have the same rules: what is shown of those is made once.
    limits = {id(rules): _catalogue_limits(rules) for rules in {id(p.rules): p.rules for p in plan.points}.values()}
    return Catalogue(
        gateway=gateway_id,
        en=plan.en,
        zh=plan.zh,
        devices=tuple(
            CatalogueDevice(
                id=device.id,
                en=device.en,
                zh=device.zh,
                port=plan.ports[device.port].id,
                unit_id=device.unit_id,
                profile=device.profile,
                profile_hash=device.profile_hash,
                serial=device.serial,
            )
            for device in plan.devices
        ),
        points=tuple(_catalogue_point(point, limits[id(point.rules)]) for point in plan.points),
        blocks=tuple(
            CatalogueBlock(points=block.points, interval_ms=block.interval_ms, phase_ms=block.phase_ms)
            for block in plan.row_blocks
        ),
    )


def _catalogue_point(point: PointPlan, limits: tuple[CatalogueLimit, ...]) -> CataloguePoint:
    return CataloguePoint(
        key=point.key,
        quantity=point.quantity,
        unit=point.unit,
        kind=point.kind,
        resolution=point.resolution,
        low=point.low,
        high=point.high,
        longest_silence_ms=point.longest_silence_ms,
        device=point.device,
        en=point.en,
        zh=point.zh,
        limits=limits,
    )


def _catalogue_limits(rules: PointRules) -> tuple[CatalogueLimit, ...]:
    return tuple(
        CatalogueLimit(
            rule_id=rule.id,
            rule_hash=rule.rule_hash,
            direction=rule.direction.value,
            value=float(rule.value),
            severity=rule.severity.value,
            scheme=rule.scheme,
            en=rule.en,
            zh=rule.zh,
        )
        for rule in rules.limits
    )
