"""Before the allowance ends ordinary data go thinned: the whole of it, with a real spool, in virtual time."""

from __future__ import annotations

from pathlib import Path

from contracts.batch import Lane, Origin
from edge_agent.pacing import THINNED_EVERY_S
from tests.edge_agent.quiet_site import opened
from tests.edge_agent.test_spending import Site
from tests.edge_agent.test_thinning import Outage


async def test_a_quarter_of_an_hour_goes_as_few_samples_and_what_lies_near_an_alarm_whole(tmp_path: Path) -> None:
    outage = Outage(tmp_path / "spool.db", room=1 << 30)
    await outage.begin()
    site = Site(tmp_path)
    site.delivery = outage.bench.delivery
    site.spending._monotonic = outage.bench.clock
    await site.step()
    site.bytes = 950_000
    await site.step()
    assert site.uplink.held.is_on
    for minute in range(int(THINNED_EVERY_S // 60)):
        if minute == 7:
            await outage.alarm()
        await outage.seal(60)
        assert site.may_go() == []
    whole = outage.kept()
    site.thin = outage.keeper.room.thin  # type: ignore[method-assign]
    await site.step()
    await outage.bench.calm()
    kept = outage.kept()
    ((_, ranges),) = site.may_go()
    goes = [seq for first, last in ranges for seq in range(first, last + 1) if seq in kept]
    assert goes == sorted(kept), "what is left of it goes, and nothing else"
    outage.check()
    thinned = [seq for seq in goes if opened(kept[seq]).header.origin is Origin.THINNED]
    assert thinned
    assert sum(len(kept[seq]) for seq in goes) < 0.6 * sum(map(len, whole.values()))
    assert outage.keeper.counts["lost_readings"] == 0
    assert outage.bench.delivery.to_send(Lane.ALARM) == [(1, [(1, 1)])], "alarms are never touched"
