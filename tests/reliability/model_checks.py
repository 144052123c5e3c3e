"""What must hold when everything works again and has drained: the five numbers, and what people see.

Each check is a function of the world; it reads what is written down there beside what the collector holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from collector.chain import Ledger
from collector.evidence import read_batch
from collector.identities import read_catalogue
from collector.ingest import decode_columns
from collector.queries import SqliteQueries
from contracts.batch import Lane, Origin
from contracts.quality import CODES, GOOD
from tests.reliability.checker import Verdict, check
from tests.reliability.model_record import Key, Place, name
from tests.reliability.model_world import ID, World
from tests.reliability.oracle import Fact, Kind, batch_series, reading_series, value_mark

#: boot id, point, time -> value with its code, as often as some batch that is not a thinned one carries it
Found = dict[Place, list[str]]


def check_all(world: World) -> Verdict:
    """Checks everything.

    Raises:
        AssertionError: something does not hold; it says what.
    """
    world.look()
    found, thinned = read_samples(world)
    verdict = check(facts(world, found))
    assert verdict.is_clean, f"{verdict}\n{sorted(set(world.excused.values()))}"
    for place, marks in thinned.items():
        assert set(marks) <= {world.samples.get(place)}, f"thinning made up {marks} at {place}"
    report = world.collector.verify()
    assert report.is_true, (report.damaged, report.false_rows[:3], report.wrong_facts[:3])
    check_chains(world)
    check_latest(world, found, thinned)
    check_alarms(world)
    check_completeness(world, found)
    return verdict


# -- the five numbers ----------------------------------------------------------------


def facts(world: World, found: Found) -> Iterator[Fact]:
    """Yields the history as the checker wants it."""
    for (epoch, lane, seq), digest in world.made.items():
        yield Fact(Kind.ATTEMPT, batch_series(ID, epoch, lane), seq, seq, digest.hex())
    for key in {**world.promised, **dict.fromkeys(world.acked)}:
        if key not in world.excused and key in world.made:
            yield Fact(Kind.STORED, batch_series(ID, key[0], key[1]), key[2], key[2], world.made[key].hex())
    yield from _holes(world)
    held: set[Key] = set()
    rows = world.collector.rows(
        "SELECT n.epoch, e.lane, e.seq, e.digest FROM evidence e JOIN epoch_name n ON n.no=e.epoch_no WHERE e.state<>1"
    )
    for epoch, lane, seq, digest in rows:
        held.add((epoch, Lane(lane), seq))
        if (epoch, Lane(lane), seq) in world.clones and digest != world.made.get((epoch, Lane(lane), seq)):
            continue
        yield Fact(Kind.READ, batch_series(ID, epoch, Lane(lane)), seq, seq, digest.hex())
    promised = world.promised.keys() - world.excused.keys()
    for place, mark in world.samples.items():
        boot_id, point, time_us = place
        series = reading_series(ID, boot_id, point)
        yield Fact(Kind.ATTEMPT, series, time_us, time_us, mark)
        batch = world.sealed_in.get(place)
        if batch in promised:
            yield Fact(Kind.STORED, series, time_us, time_us, mark)
            if batch not in held:
                # The batch is lost, or has a record: its own fact says which.
                yield Fact(Kind.GAP, series, time_us, time_us, "with its batch")
    for (boot_id, point, time_us), marks in found.items():
        for mark in marks:
            yield Fact(Kind.READ, reading_series(ID, boot_id, point), time_us, time_us, mark)


def _holes(world: World) -> Iterator[Fact]:
    """Yields what signed records explain, and what the collector lists as missing and nobody has promised."""
    losses = world.collector.rows(
        "SELECT n.epoch, l.lane, l.first, l.last, l.cause FROM loss l JOIN epoch_name n ON n.no=l.epoch_no"
    )
    for epoch, lane, first, last, cause in losses:
        yield Fact(Kind.GAP, batch_series(ID, epoch, Lane(lane)), first, last, cause)
    for epoch, lane, ledger, known in _ledgers(world):
        for first, last in ledger.missing(known):
            for seq in range(first, last + 1):
                key = (epoch, lane, seq)
                if key in world.excused or not (key in world.promised or key in world.acked):
                    yield Fact(Kind.GAP, batch_series(ID, epoch, lane), seq, seq, "listed as missing")


def _ledgers(world: World) -> Iterator[tuple[bytes, Lane, Ledger, int]]:
    rows = world.collector.rows(
        "SELECT n.epoch, c.lane, c.ranges, c.forks, c.breaks, c.known FROM chain c JOIN epoch_name n ON n.no=c.epoch_no"
    )
    for epoch, lane, ranges, forks, breaks, known in rows:
        yield epoch, Lane(lane), Ledger.from_text(ranges, forks, breaks), known


def read_samples(world: World) -> tuple[Found, Found]:
    """Returns every sample of every batch that counts: as it was sealed, and what thinning kept."""
    found: Found = {}
    thinned: Found = {}
    catalogues: dict[int, Any] = {}
    rows = world.collector.rows(
        "SELECT catalogue_no, lane, envelope FROM evidence WHERE state=0 AND readings>0 ORDER BY id"
    )
    for number, lane, envelope in rows:
        if number not in catalogues:
            (row,) = world.collector.rows("SELECT envelope FROM catalogue WHERE no=?", number)
            catalogues[number] = read_catalogue(row[0])
        catalogue = catalogues[number]
        batch = read_batch(envelope, lane)
        into = thinned if batch.header.origin is Origin.THINNED else found
        for columns in decode_columns(batch, catalogue):
            for place, point in enumerate(catalogue.blocks[columns.number].points):
                codes = None if columns.codes is None else columns.codes[place]
                for tick, time_us in enumerate(columns.times):
                    mark = value_mark(columns.values[place][tick], GOOD if codes is None else codes[tick])
                    into.setdefault((batch.header.boot_id, catalogue.points[point].key, time_us), []).append(mark)
    return found, thinned


# -- what people see -----------------------------------------------------------------


def check_chains(world: World) -> None:
    """No batch stands alone: every link fits, nothing is there twice, and all heads are known."""
    ledgers = {(epoch, lane): (ledger, known) for epoch, lane, ledger, known in _ledgers(world)}
    for (epoch, lane), (ledger, _) in ledgers.items():
        forks = [seq for seq in ledger.forks if (epoch, lane, seq) not in world.clones]
        assert not forks, f"{lane.name.lower()} lane of {epoch.hex()}: forks at {forks}"
        assert not ledger.breaks, f"{lane.name.lower()} lane of {epoch.hex()}: breaks at {ledger.breaks}"
    for key in world.promised.keys() - world.excused.keys():
        ledger, known = ledgers[key[0], key[1]]
        assert key[2] <= max(ledger.newest, known), f"nobody knows of {name(key)}"


def check_latest(world: World, found: Found, thinned: Found) -> None:
    """The latest of every point is its newest sample in the newest boot that anything is here of.

    One that thinning kept counts too: it may be newer than every sample that is still in its own batch.
    """
    here = {sample: {*found.get(sample, ()), *thinned.get(sample, ())} for sample in (*found, *thinned)}
    newest: dict[str, tuple[int, int]] = {}
    boots = {boot.boot_id: boot.counter for boot, _ in world.boots}
    for boot_id, point, time_us in here:
        newest[point] = max(newest.get(point, (0, 0)), (boots[boot_id], time_us))
    rows = world.collector.rows(
        "SELECT l.key, b.boot_id, l.mono_us, l.code, l.value FROM latest l JOIN boot b ON b.no=l.boot_no"
    )
    assert len(rows) == len(newest)
    for point, boot_id, mono_us, code, _ in rows:
        assert (boots[boot_id], mono_us) == newest[point], f"{point}: the page shows {mono_us}, not {newest[point]}"
        (mark,) = here[boot_id, point, mono_us]
        assert mark.endswith(f"@{code}")


def check_alarms(world: World) -> None:
    """The collector shows the alarms that the gateway's judge has."""
    assert world.agent is not None
    statement = world.agent.agent.judge.statement(world.agent.now_us())
    ours = {event.raised_by: event.state for event in statement.events}
    theirs = dict(world.collector.rows("SELECT id, state FROM alarm WHERE is_over=0"))
    for raised_by, state in ours.items():
        assert theirs.get(raised_by) == state, f"alarm {raised_by.hex()}: {state} here, {theirs.get(raised_by)} there"
    # An event that is lost for good (a damaged row, a full disk) has a record; what stands is then in doubt.
    lost = world.collector.rows(
        "SELECT 1 FROM loss WHERE lane=0 UNION SELECT 1 FROM chain WHERE lane=0 AND known>newest"
    )
    if not (world.is_alarm_state_torn or lost):
        assert theirs == ours, f"{len(theirs)} alarms stand at the collector, {len(ours)} at the gateway"


def check_completeness(world: World, found: Found) -> None:
    """Every tick is counted once, and each one that is here as what it is."""
    queries = SqliteQueries(world.collector.path, world.collector.now_us)
    try:
        views = queries.completeness(0, 1 << 62)
    finally:
        queries.close()
    counted: dict[str, Counter[str]] = {}
    for view in views:
        assert view.expected == sum(count for *_, count in view.counts)
        counts = counted.setdefault(view.point, Counter())
        for outcome, _, _, count in view.counts:
            counts[outcome] += count
    held: dict[str, Counter[str]] = {}
    for (_, point, _), marks in found.items():
        code = int(marks[0].rsplit("@", 1)[1])
        held.setdefault(point, Counter())[CODES[code].quality.value] += 1
    for point, counts in held.items():
        for quality in ("good", "uncertain", "bad"):
            here = counted[point][quality] + (counted[point]["late"] if quality == "good" else 0)
            assert here >= counts[quality], f"{point}: {counts[quality]} {quality} samples, {here} ticks"
