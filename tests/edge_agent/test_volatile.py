"""What a volatile epoch keeps in memory: bounded, and with no hole that nobody explains."""

from __future__ import annotations

from contracts.batch import Lane, LossRecord
from edge_agent.seal import Chain, Sealed
from edge_agent.volatile import VolatileBatches
from tests.edge_agent.chains import Clock, new_chain, seal_data


def _filled(count: int) -> tuple[VolatileBatches, list[Sealed], Chain, Clock]:
    clock = Clock()
    chain = new_chain(clock)
    batches = [seal_data(chain, clock, number) for number in range(count)]
    memory = VolatileBatches()
    for sealed in batches:
        memory.add(7, sealed)
    return memory, batches, chain, clock


def test_what_was_receipted_leaves_and_is_remembered_as_a_range() -> None:
    memory, batches, _, _ = _filled(5)
    gone = memory.forget_delivered(lambda key: key[2] <= 3)
    assert [(item.first, item.last, item.cause) for item in gone] == [(n, n, "released") for n in (1, 2, 3)]
    assert memory.size == sum(len(sealed.envelope) for sealed in batches[3:])
    held, ranges = memory.begin_storing(1 << 20)
    assert [sealed.seq for sealed in held] == [4, 5]
    assert [(item.first, item.last, item.digest, item.readings) for item in ranges] == [(1, 3, batches[2].digest, 6)]
    assert memory.stored(ranges)
    assert memory.size == 0


def test_a_piece_that_is_being_written_is_neither_shed_nor_forgotten() -> None:
    memory, batches, _, _ = _filled(4)
    held, gone = memory.begin_storing(len(batches[0].envelope) + 1)
    assert [sealed.seq for sealed in held] == [1, 2]
    runs, _ = memory.shed(0, "store_unusable")
    assert [(run.first, run.last) for run in runs] == [(3, 4)]
    assert memory.forget_delivered(lambda key: True) == []
    assert not memory.stored(gone), "what was shed meanwhile is still to be written"
    held, gone = memory.begin_storing(1 << 20)
    assert held == []
    assert memory.stored(gone)


def test_after_a_failure_everything_is_still_there() -> None:
    memory, _, _, _ = _filled(3)
    memory.begin_storing(1 << 20)
    memory.not_stored()
    assert len(memory) == 3
    assert len(memory.shed(0, "store_unusable")[0]) == 1


def test_data_go_before_alarms_and_holes_are_not_bridged() -> None:
    memory, batches, chain, clock = _filled(5)
    memory.add(7, chain.seal(Lane.ALARM, sealed_us=clock()))
    memory.forget_delivered(lambda key: key[1] is Lane.DATA and key[2] == 3)
    runs, _ = memory.shed(len(batches[0].envelope), "store_unusable")
    assert [(run.lane, run.first, run.last) for run in runs] == [(Lane.DATA, 1, 2), (Lane.DATA, 4, 5)]
    assert [key[1] for key in memory] == [Lane.ALARM]
    assert [run.lane for run in memory.shed(0, "store_unusable")[0]] == [Lane.ALARM]


def test_a_loss_record_that_is_shed_is_to_be_sealed_again() -> None:
    memory, batches, chain, clock = _filled(1)
    loss = LossRecord(
        epoch=b"epoch--1", lane=Lane.DATA, first=1, last=1, digest=batches[0].digest, readings=2, cause="quota"
    )
    memory.add(7, chain.seal(Lane.DATA, sealed_us=clock(), losses=(loss,)))
    assert memory.shed(0, "store_unusable")[1] == [loss]
