"""What the gateway states of its limits: at the start, on change, once a day, and every point each time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from contracts.confirmed import Confirmed
from contracts.fields import pack
from edge_agent.confirmed_limits import AGAIN_US, ConfirmedLimits, read_confirmed
from edge_agent.content import Content
from edge_agent.plan import PointPlan
from edge_agent.sealer import parted
from rules import PointRules
from tests.edge_agent.small_plans import CONFIRMED, limit, point
from tests.edge_agent.test_sealer import Keeper, _plan, _sealer


def on_trial(plan: PointPlan) -> PointPlan:
    return replace(plan, rules=replace(plan.rules, confirmed=None))


SIGNED = point("a/p", limit())
TRIAL = on_trial(point("b/p", limit()))
BARE = replace(point("c/p"), rules=PointRules())
#: it is watched for silence, which is never on trial
SILENT = on_trial(point("d/p"))


def test_points_that_stand_alike_are_told_together() -> None:
    other = replace(TRIAL, key="e/p")
    letter = {"by": CONFIRMED.by, "at": CONFIRMED.at, "document": CONFIRMED.document, "digest": CONFIRMED.digest}
    assert read_confirmed([SIGNED, TRIAL, BARE, SILENT, other]) == (
        Confirmed(state="confirmed", points=("a/p",), **letter),  # type: ignore[arg-type]
        Confirmed(state="trial", points=("b/p", "e/p")),
        Confirmed(state="none", points=("c/p", "d/p")),
    )
    assert all(Confirmed.from_wire(item.to_wire()) == item for item in read_confirmed([SIGNED, TRIAL, BARE]))


def test_it_is_stated_at_the_start_on_change_and_once_a_day() -> None:
    limits, points = ConfirmedLimits(), (SIGNED, TRIAL)
    first = limits.due(points, 5)
    assert [item.state for item in first] == ["confirmed", "trial"]
    assert limits.due(points, 6) == ()
    assert limits.due((SIGNED, TRIAL), 7) == ()  # a reload that changes nothing of it
    changed = (SIGNED, replace(TRIAL, rules=replace(TRIAL.rules, confirmed=CONFIRMED)))
    assert [item.points for item in limits.due(changed, 8)] == [("a/p", "b/p")]
    assert limits.due(changed, 7 + AGAIN_US) == ()
    assert limits.due(changed, 8 + AGAIN_US) != ()
    assert limits.due(changed, 9 + AGAIN_US) == ()


def test_a_site_of_many_points_is_told_in_parts_that_lose_none() -> None:
    many = [replace(TRIAL, key=f"well-{n}/ch4") for n in range(1201)]
    records = read_confirmed(many)
    assert [len(item.points) for item in records] == [500, 500, 201]
    assert max(len(pack(item.to_wire())) for item in records) < 64 * 1024
    parts = parted(Content(sealed_us=1, confirmed=records))
    assert [len(part.confirmed) for part in parts] == [1, 2]
    assert sum((tuple(part.confirmed) for part in parts), ()) == records
    assert parted(Content(sealed_us=1, confirmed=records[:1])) == []


async def test_the_first_batch_of_an_agent_states_it_and_the_next_does_not(tmp_path: Path) -> None:
    plan, keeper = _plan(tmp_path), Keeper(100)
    sealer = _sealer(plan, keeper)
    sealer.seal_data()
    sealer.note("test", "another batch")
    sealer.seal_data()
    first, second = keeper.sealed
    assert tuple(first.confirmed) == read_confirmed(plan.points)
    assert {key for record in first.confirmed for key in record.points} == {point.key for point in plan.points}
    assert second.confirmed == ()
