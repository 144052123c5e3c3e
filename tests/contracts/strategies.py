"""Hypothesis strategies for everything that crosses the wire: valid records, and hostile bytes."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from contracts.batch import (
    EVENT_STATES,
    LOSS_CAUSES,
    NO_HEAD,
    REASONS,
    AlarmEvent,
    Anchor,
    Batch,
    ClockState,
    Genesis,
    Head,
    Header,
    HealthRecord,
    Lane,
    LossRecord,
    Note,
    Origin,
    Parent,
    Statement,
)
from contracts.catalogue import SEVERITIES, Catalogue, CatalogueBlock, CatalogueDevice, CatalogueLimit, CataloguePoint
from contracts.columns import MAX_COUNT, Columns
from contracts.confirmed import Confirmed
from contracts.fields import U32, U63
from contracts.inhibit import Inhibit
from contracts.messages import Ask, Command, Status, Time
from contracts.quality import CODES, WITH_VALUE
from contracts.receipt import MAX_ALSO, Range, Receipt, Refused
from contracts.units import UNITS
from contracts.upkeep import STATES, Upkeep
from contracts.visit import JOBS, RESULTS, Visit
from contracts.waveform import MAX_SPAN_US, WaveChannel, Waveform

u32 = st.integers(0, U32)
u63 = st.integers(0, U63)
seqs = st.integers(1, U32)
hashes = st.binary(min_size=32, max_size=32)
rule_hashes = st.binary(min_size=8, max_size=32)
id8 = st.binary(min_size=8, max_size=8)
id16 = st.binary(min_size=16, max_size=16)
finite = st.floats(allow_nan=False, allow_infinity=False)
gateways = st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=12, max_size=12).map("g-".__add__)


def texts(limit: int = 256) -> st.SearchStrategy[str]:
    """Text of at most ``limit`` bytes of UTF-8."""
    return st.text(st.characters(codec="utf-8"), max_size=24).filter(lambda text: len(text.encode()) <= limit)


_word = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=20)
point_keys = st.lists(_word, min_size=2, max_size=3).map("/".join).filter(lambda key: len(key) <= 64)

heads = st.one_of(st.just(NO_HEAD), st.builds(Head, seq=seqs, digest=hashes))
anchors = st.builds(Anchor, mono_us=u63, wall_us=u63, state=st.sampled_from(ClockState), uncertainty_ms=st.none() | u32)
parents = st.builds(Parent, epoch=id8, alarm=heads, data=heads)
geneses = st.builds(Genesis, version=texts(64), reason=st.sampled_from(sorted(REASONS)), parent=st.none() | parents)


@st.composite
def headers(draw: st.DrawFn, has_blocks: bool | None = None) -> Header:
    seq = draw(st.just(1) | seqs)
    no_catalogue = st.nothing() if has_blocks else st.just(b"")
    return Header(
        gateway=draw(gateways),
        epoch=draw(id8),
        lane=draw(st.sampled_from(Lane)),
        seq=seq,
        previous=b"" if seq == 1 else draw(hashes),
        other=draw(heads),
        boot_id=draw(id16),
        boot_counter=draw(u32),
        sealed_us=draw(u63),
        anchors=tuple(draw(st.lists(anchors, max_size=3))),
        catalogue=draw(no_catalogue | hashes),
        origin=draw(st.sampled_from(Origin)),
        readings=draw(st.integers(0, 1_000_000)),
        genesis=draw(geneses) if seq == 1 else None,
    )


@st.composite
def events(draw: st.DrawFn) -> AlarmEvent:
    code = draw(st.sampled_from(sorted(CODES)))
    return AlarmEvent(
        id=draw(id16),
        raised_by=draw(id16),
        boot_id=draw(id16),
        point=draw(point_keys),
        quantity=draw(texts(64)),
        unit=draw(st.sampled_from(sorted(UNITS))),
        en=draw(texts()),
        zh=draw(texts()),
        rule_id=draw(texts(128)),
        rule_hash=draw(rule_hashes),
        rule_en=draw(texts()),
        rule_zh=draw(texts()),
        severity=draw(st.sampled_from(sorted(SEVERITIES))),
        scheme=draw(texts()),
        state=draw(st.sampled_from(sorted(EVENT_STATES))),
        cause=draw(texts(64)),
        limit=draw(st.none() | finite),
        value=draw(finite) if code in WITH_VALUE else None,
        code=code,
        sampled_us=draw(u63),
        judged_us=draw(u63),
        marks=tuple(draw(st.lists(texts(), max_size=2))),
    )


statements = st.builds(Statement, mono_us=u63, events=st.lists(events(), max_size=2).map(tuple))
losses = st.tuples(seqs, seqs).flatmap(
    lambda pair: st.builds(
        LossRecord,
        epoch=id8,
        lane=st.sampled_from(Lane),
        first=st.just(min(pair)),
        last=st.just(max(pair)),
        digest=hashes,
        readings=u63,
        cause=st.sampled_from(sorted(LOSS_CAUSES)),
        thinned_into=st.none() | st.tuples(id8, seqs),
    )
)
_facts = st.tuples(texts(64), st.none() | st.integers(-U63, U63) | finite | texts())
health = st.builds(HealthRecord, subject=texts(128), mono_us=u63, facts=st.lists(_facts, max_size=4).map(tuple))
notes = st.builds(Note, mono_us=u63, kind=texts(64), text=texts(1024))


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Any sections; blocks stay raw, so any list of lists will do here."""
    blocks = tuple(draw(st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=3)))
    return Batch(
        header=draw(headers(bool(blocks))),
        blocks=blocks,
        events=tuple(draw(st.lists(events(), max_size=2))),
        statement=draw(st.none() | statements),
        health=tuple(draw(st.lists(health, max_size=2))),
        losses=tuple(draw(st.lists(losses, max_size=2))),
        notes=tuple(draw(st.lists(notes, max_size=2))),
        waveforms=tuple(draw(st.lists(waveforms(), max_size=2))),
        inhibits=tuple(draw(st.lists(inhibits(), max_size=2))),
        visits=tuple(draw(st.lists(visits(), max_size=2))),
        upkeep=tuple(draw(st.lists(upkeep, max_size=2))),
        confirmed=tuple(draw(st.lists(confirmed(), max_size=2))),
    )


@st.composite
def inhibits(draw: st.DrawFn) -> Inhibit:
    """Any stretch of time, also an empty one."""
    since_us = draw(st.integers(0, U63))
    return Inhibit(
        point=draw(texts(64)),
        since_us=since_us,
        until_us=draw(st.integers(since_us, U63)),
        reason=draw(texts()),
        by=draw(texts()),
    )


@st.composite
def confirmed(draw: st.DrawFn) -> Confirmed:
    """Points on trial, without limits, or confirmed by a letter."""
    points = tuple(draw(st.lists(point_keys, min_size=1, max_size=3)))
    state = draw(st.sampled_from(["trial", "none", "confirmed"]))
    if state != "confirmed":
        return Confirmed(state=state, points=points)
    return Confirmed(
        state=state,
        by=draw(texts(80).filter(bool)),
        at=draw(st.dates().map(lambda day: day.isoformat())),
        document=draw(texts(80).filter(bool)),
        digest=draw(st.binary(min_size=32, max_size=32)),
        points=points,
    )


@st.composite
def visits(draw: st.DrawFn) -> Visit:
    """Any visit, with any of its numbers missing."""
    began_us = draw(u63)
    return Visit(
        id=draw(id16),
        boot_id=draw(id16),
        point=draw(texts(64)),
        job=draw(st.sampled_from(sorted(JOBS))),
        began_us=began_us,
        ended_us=draw(st.integers(began_us, U63)),
        by=draw(texts()),
        result=draw(st.sampled_from(sorted(RESULTS))),
        reason=draw(texts()),
        unit=draw(st.sampled_from(sorted(UNITS))),
        zero=draw(st.none() | finite),
        applied=draw(st.none() | finite),
        peak=draw(st.none() | finite),
        t90_us=draw(st.none() | u63),
        return_us=draw(st.none() | u63),
        t90_limit_us=draw(st.none() | u63),
        return_limit_us=draw(st.none() | u63),
        serial=draw(texts(64)),
        note=draw(texts(1024)),
    )


_days = st.just("") | st.dates().map(str)
upkeep = st.builds(
    Upkeep,
    point=texts(64),
    job=st.sampled_from(sorted(JOBS)),
    last=_days,
    due=_days,
    state=st.sampled_from(sorted(STATES)),
    street=texts(),
)


@dataclass(frozen=True)
class Samples:
    """The arguments of ``encode_block``."""

    number: int
    kinds: tuple[str, ...]
    sealed_us: int
    times: list[int]
    rows: list[list[Any]]
    codes: list[list[int] | None]


_singles = st.floats(width=32, allow_nan=False, allow_infinity=False)
_values: dict[str, st.SearchStrategy[Any]] = {
    "int": st.integers(-9, 9) | st.integers(-MAX_COUNT, MAX_COUNT),
    "f32": _singles,
    "f64": finite,
}


@st.composite
def samples(draw: st.DrawFn) -> Samples:
    """A block of any kinds; half of them all good, the others with every pattern of missing numbers."""
    kinds = tuple(draw(st.lists(st.sampled_from(["int", "f32", "f64"]), min_size=1, max_size=4)))
    ticks = draw(st.integers(1, 6))
    is_all_good = draw(st.booleans())
    rows: list[list[Any]] = []
    codes: list[list[int] | None] = []
    for _ in range(ticks):
        row_is_good = is_all_good or draw(st.booleans())
        row = [0 if row_is_good else draw(st.sampled_from(sorted(CODES))) for _ in kinds]
        rows.append(
            [draw(_values[kind]) if code in WITH_VALUE else None for kind, code in zip(kinds, row, strict=True)]
        )
        codes.append(None if row_is_good else row)
    times = draw(st.lists(u63, min_size=ticks, max_size=ticks))
    return Samples(
        number=draw(st.integers(0, 70_000)),
        kinds=kinds,
        sealed_us=draw(u63),
        times=times,
        rows=rows,
        codes=codes,
    )


@st.composite
def waveforms(draw: st.DrawFn) -> Waveform:
    """Any channels, all good or with every pattern of missing numbers, times from one moment to an hour."""
    drawn = draw(samples())
    begin_us = draw(st.integers(0, U63 - MAX_SPAN_US))
    steps = draw(st.lists(st.integers(0, MAX_SPAN_US // 6), min_size=len(drawn.times), max_size=len(drawn.times)))
    times = [begin_us + sum(steps[1 : tick + 1]) for tick in range(len(steps))]
    codes = None
    if any(drawn.codes) and any(any(row) for row in drawn.codes if row is not None):
        filled = [row if row is not None else [0] * len(drawn.kinds) for row in drawn.codes]
        codes = [list(column) for column in zip(*filled, strict=True)]
    return Waveform(
        id=draw(id16),
        device=draw(texts(64)),
        cause=draw(texts(64)),
        event=draw(st.none() | id16),
        begin_us=begin_us,
        channels=tuple(
            WaveChannel(
                point=draw(point_keys),
                quantity=draw(texts(64)),
                unit=draw(st.sampled_from(sorted(UNITS))),
                kind=kind,
                resolution=Fraction(draw(_whole), draw(_whole)) if kind == "int" else Fraction(1),
                en=draw(texts()),
                zh=draw(texts()),
            )
            for kind in drawn.kinds
        ),
        columns=Columns(0, times, [list(column) for column in zip(*drawn.rows, strict=True)], codes),
    )


_limits = st.builds(
    CatalogueLimit,
    rule_id=texts(128),
    rule_hash=rule_hashes,
    direction=st.sampled_from(["high", "low"]),
    value=finite,
    severity=st.sampled_from(sorted(SEVERITIES)),
    scheme=texts(),
    en=texts(),
    zh=texts(),
)
_devices = st.builds(
    CatalogueDevice,
    id=texts(64),
    en=texts(),
    zh=texts(),
    port=texts(64),
    unit_id=st.integers(0, 255),
    profile=texts(64),
    profile_hash=rule_hashes,
    serial=texts(64),
)
_whole = st.integers(1, 10**18 - 1)


@st.composite
def catalogues(draw: st.DrawFn) -> Catalogue:
    devices = tuple(draw(st.lists(_devices, min_size=1, max_size=2)))
    keys = draw(st.lists(point_keys, max_size=4, unique=True))
    points = tuple(
        CataloguePoint(
            key=key,
            quantity=draw(texts(64)),
            unit=draw(st.sampled_from(sorted(UNITS))),
            kind=draw(st.sampled_from(["int", "f32", "f64"])),
            resolution=Fraction(draw(_whole), draw(_whole)),
            low=draw(st.none() | finite),
            high=draw(st.none() | finite),
            longest_silence_ms=draw(seqs),
            device=draw(st.integers(0, len(devices) - 1)),
            en=draw(texts()),
            zh=draw(texts()),
            limits=tuple(draw(st.lists(_limits, max_size=2))),
        )
        for key in keys
    )
    order = draw(st.permutations(range(len(points))))
    cut = draw(st.integers(0, len(points)))
    blocks = []
    for part in (order[:cut], order[cut:]):
        if part:
            interval = draw(seqs)
            phase = draw(st.integers(0, interval - 1))
            blocks.append(CatalogueBlock(points=tuple(part), interval_ms=interval, phase_ms=phase))
    return Catalogue(
        gateway=draw(gateways),
        en=draw(texts()),
        zh=draw(texts()),
        devices=devices,
        points=points,
        blocks=tuple(blocks),
    )


@st.composite
def receipts(draw: st.DrawFn) -> Receipt:
    contiguous = draw(st.just(0) | st.integers(0, 1 << 20))
    also, last = [], contiguous
    for _ in range(draw(st.integers(0, MAX_ALSO))):
        first = last + draw(st.integers(2, 99))
        last = first + draw(st.integers(0, 99))
        also.append(Range(first=first, last=last, digest=draw(hashes)))
    refused = st.builds(Refused, seq=seqs, digest=hashes, code=texts(32))
    return Receipt(
        gateway=draw(gateways),
        collector_epoch=draw(id8),
        collector_since_us=draw(u63),
        serial=draw(st.integers(1, U63)),
        epoch=draw(id8),
        lane=draw(st.sampled_from(Lane)),
        contiguous=contiguous,
        digest=draw(hashes) if contiguous else b"",
        also=tuple(also),
        refused=tuple(draw(st.lists(refused, max_size=3))),
        wanted=tuple(draw(st.lists(hashes, max_size=3))),
        issued_us=draw(u63),
    )


asks = st.builds(
    Ask,
    gateway=gateways,
    epoch=id8,
    boot_id=id16,
    boot_counter=u32,
    nonce=id16,
    anchor=anchors,
    alarm=heads,
    data=heads,
    unreceipted=st.lists(id8, max_size=4).map(tuple),
    statement=statements,
    version=texts(64),
)
times = st.builds(Time, gateway=gateways, nonce=id16, wall_us=u63)
commands = st.builds(Command, gateway=gateways, boot_id=id16, serial=u63, until_us=u63, word=texts(64), by=texts(128))
statuses = st.builds(Status, gateway=gateways, epoch=id8, session=u32, online=st.booleans(), version=texts(64))

#: values that an honest sender would not put there
nasty: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        True,
        False,
        -1,
        0,
        1,
        256,
        U32 + 1,
        U63 + 1,
        2**64 - 1,
        -(2**63),
        0.0,
        1.0,
        math.nan,
        math.inf,
        -math.inf,
        "",
        "x",
        "a/b",
        "长" * 2000,
        b"",
        b"x",
        bytes(31),
        bytes(32),
        [],
        [[]],
        [None] * 14,
        {},
        {"a": 1},
        [[[[[[[[[[[[[[1]]]]]]]]]]]]]],
    ]
)


@st.composite
def mutated(draw: st.DrawFn, value: Any) -> Any:
    """Returns ``value`` with one place, at any depth, replaced, removed, added or doubled."""
    if isinstance(value, dict) and value and draw(st.integers(0, 9)) < 9:
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: draw(mutated(value[key]))}
    if isinstance(value, list) and value and draw(st.integers(0, 9)) < 9:
        index = draw(st.integers(0, len(value) - 1))
        how = draw(st.sampled_from(["into", "into", "into", "remove", "add", "double", "swap"]))
        if how == "into":
            return [*value[:index], draw(mutated(value[index])), *value[index + 1 :]]
        if how == "remove":
            return [*value[:index], *value[index + 1 :]]
        if how == "add":
            return [*value[:index], draw(nasty), *value[index:]]
        if how == "double":
            return [*value[:index], value[index], *value[index:]]
        other = draw(st.integers(0, len(value) - 1))
        swapped = list(value)
        swapped[index], swapped[other] = swapped[other], swapped[index]
        return swapped
    return draw(nasty)


@st.composite
def damaged(draw: st.DrawFn, body: bytes) -> bytes:
    """Returns ``body`` with bytes changed, cut, repeated or put in."""
    how = draw(st.sampled_from(["flip", "flip", "cut", "insert", "claim"]))
    at = draw(st.integers(0, max(0, len(body) - 1)))
    if how == "flip" and body:
        return body[:at] + bytes([body[at] ^ draw(st.integers(1, 255))]) + body[at + 1 :]
    if how == "cut":
        return body[:at]
    if how == "insert":
        return body[:at] + draw(st.binary(min_size=1, max_size=8)) + body[at:]
    lead = draw(st.sampled_from([0xDD, 0xDF, 0xDB, 0xC6, 0xC9]))
    return (
        body[:at] + bytes([lead]) + struct.pack(">I", draw(st.sampled_from([0, 5, 5000, 2**17, 2**32 - 1]))) + body[at:]
    )
