"""Which samples stay: the least, the greatest, the last and every kind of failure, and nothing made up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.batch import Genesis, Lane, Note, Origin
from contracts.columns import decode_block, encode_block
from contracts.quality import GOOD, NO_REPLY, OVER_RANGE
from edge_agent.content import Content
from edge_agent.seal import Chain
from edge_agent.spool_records import Gone, StoredBatch, batch_id
from edge_agent.thin import MOST_READINGS, Draft, Taken, kept_ticks, placed, runs_within
from tests.edge_agent.chains import BOOT, Clock, alarm_event, new_chain
from tests.edge_agent.quiet_site import CATALOGUE, KINDS, S, Samples, content, opened, samples_of, windows_of

MINUTE = 60 * S


@pytest.mark.parametrize(
    ("times", "columns", "codes", "kept"),
    [
        ([1], [[5]], None, [0]),
        ([1, 2, 3, 4], [[5, 5, 5, 5]], None, [3]),
        ([1, 2, 3, 4, 5], [[5, 9, 1, 7, 6]], None, [1, 2, 4]),
        ([1, 2, 3, 4], [[5, 9, 1, 7], [0, 0, 0, 8]], None, [1, 2, 3]),
        ([4, 1, 3, 2], [[7, 5, 1, 9]], None, [3, 2, 0]),
        ([1, 2, MINUTE, MINUTE + 1], [[1, 1, 1, 1]], None, [1, 3]),
        ([1, 2, 3, 4], [[5, None, None, 6]], [[GOOD, NO_REPLY, NO_REPLY, GOOD]], [0, 1, 3]),
        ([1, 2, 3], [[5, 6, None]], [[GOOD, GOOD, NO_REPLY]], [0, 1, 2]),
        ([1, 2, 3], [[None, None, None]], [[NO_REPLY, OVER_RANGE, NO_REPLY]], [1, 2]),
        ([1, 2, 3], [[5, 5, 5], [None, 3, 3]], [[GOOD] * 3, [NO_REPLY, GOOD, GOOD]], [0, 2]),
    ],
    ids=["one", "still", "extremes", "two points", "out of order", "windows", "no reply", "no number last",
         "no number at all", "of one point"],
)  # fmt: skip
def test_the_ticks_that_stay(times: list[int], columns: list[Any], codes: Any, kept: list[int]) -> None:
    assert kept_ticks(times, columns, codes, MINUTE) == kept


_SAMPLE = st.one_of(
    st.integers(-9, 9).map(lambda value: (value, GOOD)), st.sampled_from([(None, NO_REPLY), (None, OVER_RANGE)])
)


@given(
    st.integers(1, 3).flatmap(
        lambda width: st.lists(st.tuples(*[_SAMPLE] * width), min_size=1, max_size=40).flatmap(
            lambda rows: st.tuples(
                st.just(rows),
                st.lists(st.integers(0, 300 * S), min_size=len(rows), max_size=len(rows), unique=True),
            )
        )
    )
)
def test_every_window_keeps_its_least_greatest_last_and_codes(drawn: tuple[list[Any], list[int]]) -> None:
    rows, times = drawn
    values = [[row[point][0] for row in rows] for point in range(len(rows[0]))]
    codes = [[row[point][1] for row in rows] for point in range(len(rows[0]))]
    kept = kept_ticks(times, values, codes, MINUTE)
    assert [times[tick] for tick in kept] == sorted(times[tick] for tick in kept)

    def samples(ticks: Any) -> Samples:
        return {
            (0, point, times[tick]): (column[tick], codes[point][tick])
            for point, column in enumerate(values)
            for tick in ticks
        }

    assert windows_of(samples(kept), MINUTE) == windows_of(samples(range(len(rows))), MINUTE)


class Batches:
    """Seals batches as a gateway would, and offers them to drafts."""

    def __init__(self) -> None:
        self.clock = Clock(3_600 * S)
        self.chain: Chain = new_chain(self.clock)
        self.seal(Content(sealed_us=self.clock()))  # batch 1 is never thinned

    def seal(self, what: Content, **more: Any) -> StoredBatch:
        sealed = self.chain.seal(
            Lane.DATA,
            sealed_us=what.sealed_us,
            catalogue=what.catalogue,
            blocks=what.blocks,
            readings=what.readings,
            notes=what.notes,
            **more,
        )
        return StoredBatch(
            id=batch_id(1, Lane.DATA, sealed.seq),
            digest=sealed.digest,
            readings=sealed.readings,
            envelope=sealed.envelope,
        )

    def next(self, seconds: int = 5, **more: Any) -> StoredBatch:
        self.clock.pass_s(seconds)
        return self.seal(content(self.clock(), seconds), **more)


def new_draft() -> Draft:
    return Draft(epoch=b"epoch--1", boot_id=BOOT.boot_id)


def kinds(hash: bytes) -> Any:
    return KINDS if hash == CATALOGUE.hash else None


def test_a_thinned_form_holds_samples_of_its_batches_and_nothing_else() -> None:
    batches, draft = Batches(), new_draft()
    stored = [batches.next() for _ in range(100)]
    assert {draft.take(item, kinds) for item in stored} == {Taken.TAKEN}
    thinned = draft.thin()
    assert thinned is not None
    (run,) = thinned.runs
    assert (run.first, run.last, run.readings, run.digest) == (2, 101, 2000, stored[-1].digest)
    before: Samples = {}
    for item in stored:
        before |= samples_of(opened(item.envelope))
    sealed = batches.seal(
        Content(
            sealed_us=batches.clock(),
            catalogue=thinned.catalogue,
            blocks=placed(thinned.blocks, batches.clock()),
            readings=thinned.readings,
        )
    )
    after = samples_of(opened(sealed.envelope))
    assert after.items() <= before.items()
    assert len(after) == thinned.readings < len(before) / 2
    assert windows_of(after, thinned.window_us) == windows_of(before, thinned.window_us)
    assert len(sealed.envelope) * 2 < sum(len(item.envelope) for item in stored)
    times = [time for _, _, time in after]
    assert (thinned.first_us, thinned.last_us) == (min(times), max(times))


def test_notes_are_kept_and_what_gains_too_little_is_not_thinned() -> None:
    batches, draft = Batches(), new_draft()
    note = Note(mono_us=1, kind="write", text="relay 3 on, by Li")
    batches.clock.pass_s(5)
    first = batches.seal(replace(content(batches.clock(), 5), notes=(note,)))
    assert draft.take(first, kinds) is Taken.TAKEN
    assert draft.thin() is None, "one batch"
    for _ in range(50):
        draft.take(batches.next(), kinds)
    thinned = draft.thin()
    assert thinned is not None
    assert thinned.notes == (note,)
    assert draft.thin(records=200) is None, "records that must be sealed anew cost what it would free"


def test_a_wide_noisy_block_takes_a_longer_window() -> None:
    batches, draft = Batches(), new_draft()
    for number in range(40):
        batches.clock.pass_s(60)
        now = batches.clock()
        rows = [
            tuple((number * 37 + tick * 11 + point * 53) ** 2 % 10_007 for point in range(24)) for tick in range(12)
        ]
        times = [now - (11 - tick) * 5 * S for tick in range(12)]
        block = encode_block(0, ["int"] * 24, now, times, rows, [None] * 12)
        stored = batches.seal(Content(sealed_us=now, catalogue=b"w" * 32, blocks=[block], readings=24 * 12))
        assert draft.take(stored, lambda hash: [["int"] * 24]) is Taken.TAKEN
    thinned = draft.thin()
    assert thinned is not None
    assert thinned.window_us > MINUTE


def test_what_is_not_quiet_stays() -> None:
    batches, draft = Batches(), new_draft()
    damaged = replace(batches.next(), is_whole=False)
    cut = batches.next()
    cut = replace(cut, envelope=cut.envelope[:-5])
    once = batches.next(origin=Origin.THINNED)
    event = batches.next(events=[alarm_event(1)])
    unknown = batches.seal(replace(content(batches.clock(), 5), catalogue=b"x" * 32))
    of_another_place = replace(batches.next(), id=batch_id(1, Lane.DATA, 99))
    for item in (damaged, cut, once, event, unknown, of_another_place):
        assert draft.take(item, kinds) is Taken.NOT_QUIET
    other_boot = Draft(epoch=b"epoch--1", boot_id=b"another boot 16b")
    assert other_boot.take(batches.next(), kinds) is Taken.NOT_QUIET
    assert draft.runs == []
    fresh = new_chain(batches.clock)
    fresh.genesis = Genesis(version="test", reason="first", parent=None)
    batches.chain = fresh
    assert draft.take(batches.next(), kinds) is Taken.NOT_QUIET, "batch 1 says where the epoch comes from"


def test_another_catalogue_and_too_much_belong_to_the_next_draft() -> None:
    batches, draft = Batches(), new_draft()
    draft.take(batches.next(), kinds)
    batches.clock.pass_s(5)
    other = batches.seal(replace(content(batches.clock(), 5), catalogue=b"y" * 32))
    assert draft.take(other, lambda hash: KINDS) is Taken.FULL
    assert draft.is_full
    draft = new_draft()
    taken = 0
    while draft.take(batches.next(300), kinds) is Taken.TAKEN:
        taken += 1
    assert draft.is_full
    assert 0 < sum(run.readings for run in draft.runs) <= MOST_READINGS
    assert draft.span_us <= 3_000 * S, "a collector looks back for an hour"


def test_runs_part_where_a_batch_stays() -> None:
    batches, draft = Batches(), new_draft()
    for number in range(40):
        item = batches.next()
        if number not in (10, 11, 30):
            assert draft.take(item, kinds) is Taken.TAKEN
    assert [(run.first, run.last, run.readings) for run in draft.runs] == [
        (2, 11, 200),
        (14, 31, 360),
        (33, 41, 180),
    ]


def test_runs_that_do_not_wait_any_more_are_noticed() -> None:
    run = Gone(epoch_no=1, lane=Lane.DATA, first=3, last=9, digest=b"", readings=1, cause="thinned")
    assert runs_within([run], [(1, 2), (3, 20)])
    assert not runs_within([run], [(1, 5), (7, 20)])
    assert not runs_within([run], [])


@given(st.lists(st.tuples(st.integers(1, 40), st.sampled_from("qqqqqqqet")), min_size=1, max_size=60))
def test_what_goes_is_in_a_record_and_every_window_survives(story: list[tuple[int, str]]) -> None:
    batches, draft = Batches(), new_draft()
    went: dict[int, tuple[int, Samples]] = {}
    for seconds, what in story:
        more: dict[str, Any] = {"events": [alarm_event(1)]} if what == "e" else {}
        more |= {"origin": Origin.THINNED} if what == "t" else {}
        stored = batches.next(seconds, **more)
        result = draft.take(stored, kinds)
        assert (result is Taken.TAKEN) == (what == "q")
        if result is Taken.TAKEN:
            went[stored.seq] = (stored.readings, samples_of(opened(stored.envelope)))
    thinned = draft.thin()
    if thinned is None:
        return
    covered = {seq for run in thinned.runs for seq in range(run.first, run.last + 1)}
    assert covered == went.keys()
    assert sum(run.readings for run in thinned.runs) == sum(readings for readings, _ in went.values())
    before: Samples = {}
    for _, samples in went.values():
        before |= samples
    after: Samples = {}
    for raw in thinned.blocks:
        columns = decode_block(raw, KINDS[raw[0]], 0)
        for point, column in enumerate(columns.values):
            for tick, time in enumerate(columns.times):
                code = GOOD if columns.codes is None else columns.codes[point][tick]
                after[columns.number, point, time] = (column[tick], code)
    assert after.items() <= before.items()
    assert windows_of(after, thinned.window_us) == windows_of(before, thinned.window_us)
    assert len(after) == thinned.readings
