"""How long the oldest batch waits for its receipt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from contracts.batch import Lane
from edge_agent.delivery import Delivery
from edge_agent.errors import SpoolError
from edge_agent.oldest_unsent import OldestUnsent
from edge_agent.seal import Sealed
from edge_agent.spool_records import EpochRow, StoredBatch, batch_id
from tests.edge_agent.chains import BOOT, SIGNER, Clock, new_chain, seal_data


class Spool:
    """Holds some batches of epoch 1."""

    def __init__(self, sealed: Sequence[Sealed]) -> None:
        self.held = {item.seq: item for item in sealed}
        self.is_broken = False

    async def run(self, work: Callable[[Any], Any]) -> Any:
        if self.is_broken:
            raise SpoolError("the disk does not answer")
        return work(self)

    def read(self, no: int, lane: Lane, ranges: Any, *, limit_bytes: int, limit_rows: int) -> list[StoredBatch]:
        item = self.held[ranges[0][0]]
        return [StoredBatch(id=batch_id(no, lane, item.seq), digest=item.digest, readings=2, envelope=item.envelope)]


def _delivery(clock: Clock, started_uptime_s: int) -> Delivery:
    delivery = Delivery(SIGNER.public.gateway_id)
    delivery.add_epoch(
        EpochRow(
            no=1,
            epoch=b"epoch--1",
            reason="first",
            boot_id=BOOT.boot_id,
            boot_counter=3,
            started_us=clock(),
            started_uptime_s=started_uptime_s,
        )
    )
    return delivery


async def test_it_is_told_in_running_time_of_the_agent() -> None:
    clock = Clock()
    delivery = _delivery(clock, started_uptime_s=5000)
    chain = new_chain(clock)
    clock.pass_s(100)
    first = seal_data(chain, clock)
    clock.pass_s(50)
    second = seal_data(chain, clock)
    spool = Spool([first, second])
    oldest = OldestUnsent(delivery, spool)  # type: ignore[arg-type]
    assert oldest.age_s(5200) is None, "nobody has looked"
    await oldest.look()
    assert oldest.age_s(5200) is None, "nothing waits"
    delivery.sealed(1, Lane.DATA, chain.head(Lane.DATA))
    await oldest.look()
    assert oldest.age_s(5200) == 100
    delivery.released(1, Lane.DATA, 1, 1)
    await oldest.look()
    assert oldest.age_s(5200) == 50
    delivery.released(1, Lane.DATA, 2, 2)
    assert oldest.age_s(5300) is None, "its receipt came since the look: it does not grow older"
    delivery.sealed(1, Lane.DATA, chain.head(Lane.DATA))
    spool.is_broken = True
    await oldest.look()
    assert oldest.age_s(5200) is None, "not known is no number"
    delivery.forget_epoch(1)
    await oldest.look()
    assert oldest.age_s(5200) is None
