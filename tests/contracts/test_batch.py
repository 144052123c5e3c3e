"""Batches: identity over all sections, hostile bodies, and the rules that tie fields together."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.batch import (
    AlarmEvent,
    Anchor,
    Batch,
    Genesis,
    Head,
    Header,
    HealthRecord,
    Lane,
    LossRecord,
    Note,
    Parent,
    Statement,
    decode_batch,
    encode_batch,
    event_id,
)
from contracts.envelope import Type, open_envelope, seal
from contracts.errors import ContractError, PayloadError, TooLargeError
from contracts.fields import U63, pack, unpack
from contracts.keys import Signer, Verifier
from contracts.quality import NO_REPLY
from contracts.upkeep import MAX_UPKEEP
from tests.contracts import strategies
from tests.contracts.examples import FULL_BATCH, STATEMENT, UPKEEP
from tests.contracts.strategies import batches, damaged, mutated, nasty

SIGNER = Signer.from_seed(bytes(32))
KEYS = {SIGNER.key_id: Verifier(SIGNER.public)}


@given(batches())
def test_decode_after_encode_is_identity(batch: Batch) -> None:
    decoded = decode_batch(encode_batch(batch), batch.header.lane.type)
    # Blocks are raw lists on both sides.
    assert decoded == batch


@given(st.data())
def test_each_record_survives_the_wire(data: st.DataObject) -> None:
    kinds: list[tuple[Any, st.SearchStrategy[Any]]] = [
        (Head, strategies.heads),
        (Anchor, strategies.anchors),
        (Parent, strategies.parents),
        (Genesis, strategies.geneses),
        (Header, strategies.headers()),
        (AlarmEvent, strategies.events()),
        (Statement, strategies.statements),
        (LossRecord, strategies.losses),
        (HealthRecord, strategies.health),
        (Note, strategies.notes),
    ]
    record_class, strategy = data.draw(st.sampled_from(kinds))
    record = data.draw(strategy)
    assert record_class.from_wire(unpack(pack(record.to_wire()))) == record


def _refusal(action: Callable[[], object]) -> ContractError | None:
    try:
        action()
    except ContractError as error:
        return error
    return None


@given(st.data())
def test_a_mutated_body_signed_by_a_valid_key_raises_only_contract_errors(data: st.DataObject) -> None:
    batch = data.draw(batches())
    body = encode_batch(batch)
    mutant = pack(data.draw(mutated(unpack(body)))) if data.draw(st.booleans()) else data.draw(damaged(body))
    type = batch.header.lane.type
    opened = open_envelope(seal(type, mutant, SIGNER)[0], type, KEYS)
    error = _refusal(lambda: decode_batch(opened.body, type))
    assert error is None or len(str(error)) < 1000


@given(batches())
def test_a_batch_of_one_lane_is_refused_in_the_other(batch: Batch) -> None:
    other = Type.ALARM_BATCH if batch.header.lane is Lane.DATA else Type.DATA_BATCH
    with pytest.raises(PayloadError, match=r"header\.lane"):
        decode_batch(encode_batch(batch), other)


def _changed(path: tuple[int, ...], value: Any) -> bytes:
    document = unpack(encode_batch(FULL_BATCH))
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return pack(document)


def _decode(body: bytes) -> Batch:
    return decode_batch(body, FULL_BATCH.header.lane.type)


HEADER_FIELDS = [item.name for item in dataclasses.fields(Header)]


@pytest.mark.parametrize("index", range(14), ids=HEADER_FIELDS)
@given(value=nasty)
def test_every_header_field_is_checked(index: int, value: Any) -> None:
    field, body = HEADER_FIELDS[index], _changed((0, index), value)
    error = _refusal(lambda: _decode(body))
    if error is None:
        # What is accepted is what was said; equal is not enough, for True == 1.
        kept, said = _decode(body).header.to_wire()[index], unpack(body)[0][index]
        assert (type(kept), kept) == (type(said), said)
    elif not isinstance(error, TooLargeError):
        assert str(error).startswith((f"header.{field}", "head", "anchor", "genesis"))


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ((0, 0), "g-short", "header.gateway"),
        ((0, 1), bytes(7), "header.epoch"),
        ((0, 2), 2, "header.lane"),
        ((0, 3), 0, "header.seq"),
        ((0, 3), 2**32, "header.seq"),
        ((0, 3), 1, "header.previous"),
        ((0, 4), b"", "header.previous"),
        ((0, 5), [0, bytes(32)], "head.digest"),
        ((0, 5), [1, b""], "head.digest"),
        ((0, 6), bytes(15), "header.boot_id"),
        ((0, 8), -1, "header.sealed_us"),
        ((0, 8), U63 + 1, "header.sealed_us"),
        ((0, 9), [[1, 2, "ntp", 3]] * 17, "header.anchors"),
        ((0, 9), [[1, 2, "gps", 3]], "anchor.state"),
        ((0, 9), [[1, 2, "ntp", -1]], "anchor.uncertainty_ms"),
        ((0, 10), bytes(31), "header.catalogue"),
        ((0, 10), b"", "header.catalogue"),
        ((0, 11), "forged", "header.origin"),
        ((0, 12), 1_000_001, "header.readings"),
        ((0, 13), ["1", "restart", None], "header.genesis"),
        ((1,), {}, "batch.sections"),
        ((1,), [[9, 1]] * 65, "batch.sections"),
        ((1, 0), [1], "section"),
        ((1, 0, 0), 256, "section.number"),
        ((1, 0, 0), True, "section.number"),
        ((1, 0, 0), 2, "section 2 stands twice"),
        ((1, 0, 1), {}, "section blocks"),
        ((1, 1, 1), [1], "event"),
        ((1, 1, 1, 0, 3), "well", "event.point"),
        ((1, 1, 1, 0, 5), "stone", "event.unit"),
        ((1, 1, 1, 0, 9), bytes(7), "event.rule_hash"),
        ((1, 1, 1, 0, 12), "pink", "event.severity"),
        ((1, 1, 1, 0, 14), "acknowledged", "event.state"),
        ((1, 1, 1, 0, 16), float("nan"), "event.limit"),
        ((1, 1, 1, 0, 17), float("inf"), "event.value"),
        ((1, 1, 1, 0, 18), NO_REPLY, "event.value"),
        ((1, 1, 1, 0, 18), 256, "event.code"),
        ((1, 1, 1, 0, 21), ["x"] * 17, "event.marks"),
        ((1, 1, 1, 0, 21), [1], "event.marks"),
        ((1, 2, 1), [1], "statement"),
        ((1, 2, 1, 1), None, "statement.events"),
        ((1, 3, 1, 0, 2), ["odd"], "health.facts"),
        ((1, 3, 1, 0, 2), [1, 1], "health.facts"),
        ((1, 3, 1, 0, 2), ["n" * 65, 1], "health.facts"),
        ((1, 3, 1, 0, 2), ["n", "x" * 257], "health.facts.n"),
        ((1, 3, 1, 0, 2), ["n", True], "health.facts.n"),
        ((1, 3, 1, 0, 2), ["n", b"x"], "health.facts.n"),
        ((1, 3, 1, 0, 2), ["n", float("nan")], "health.facts.n"),
        ((1, 3, 1, 0, 2), ["n", float("-inf")], "health.facts.n"),
        ((1, 3, 1, 0, 2), ["n", 2**64 - 1], "health.facts.n"),
        ((1, 3, 1, 0, 2), ["n", 1] * 129, "health.facts"),
        ((1, 4, 1, 0, 2), 0, "loss.first"),
        ((1, 4, 1, 0, 3), 1, "loss.last"),
        ((1, 4, 1, 0, 4), b"", "loss.digest"),
        ((1, 4, 1, 0, 6), "bored", "loss.cause"),
        ((1, 4, 1, 0, 7), [bytes(8), 0], "loss.thinned_into.seq"),
        ((1, 5, 1, 0, 2), "x" * 1025, "note.text"),
    ],
)
def test_a_wrong_field_is_refused_by_name(path: tuple[int, ...], value: Any, named: str) -> None:
    with pytest.raises(PayloadError, match=named.replace(".", r"\.")):
        _decode(_changed(path, value))


@pytest.mark.parametrize("body", [b"", b"\xc0", b"\x90", b"\x92\xc0\x90", b"\x92\x90\x90", b"\x82\x01\x01\x02\x02"])
def test_another_form_is_no_batch(body: bytes) -> None:
    with pytest.raises(PayloadError):
        decode_batch(body, Type.DATA_BATCH)


def test_an_extension_type_is_never_taken_for_a_list() -> None:
    """msgpack hands an extension of no bytes over as a tuple of two, which reads like a head."""
    body = encode_batch(FULL_BATCH)
    other = pack(FULL_BATCH.header.other.to_wire())
    assert body.count(other) == 1
    with pytest.raises(PayloadError, match="extension"):
        _decode(body.replace(other, b"\xc7\x00\x00"))


def test_an_unknown_section_is_skipped_and_named() -> None:
    document = unpack(encode_batch(FULL_BATCH))
    document[1] += [[200, {"anything": [1, 2.5, None]}], [199, b"of a later version"]]
    decoded = _decode(pack(document))
    assert decoded.unknown == (199, 200)
    assert dataclasses.replace(decoded, unknown=()) == FULL_BATCH


def test_more_than_a_reader_takes_is_not_encoded() -> None:
    """It would be sealed, refused by the collector, and lost with all else in the batch."""
    (one,) = UPKEEP[:1]
    fits = Batch(header=FULL_BATCH.header, upkeep=(one,) * MAX_UPKEEP)
    assert decode_batch(encode_batch(fits), Lane.DATA.type).upkeep == fits.upkeep
    with pytest.raises(PayloadError, match="upkeep: 10001 in one batch, at most 10000"):
        encode_batch(dataclasses.replace(fits, upkeep=(one,) * (MAX_UPKEEP + 1)))


def test_a_batch_without_sections_is_a_batch() -> None:
    batch = Batch(header=FULL_BATCH.header)
    assert decode_batch(encode_batch(batch), batch.header.lane.type) == batch


def test_batch_one_carries_the_genesis_and_no_other_does() -> None:
    first = dataclasses.replace(
        FULL_BATCH.header, seq=1, previous=b"", genesis=Genesis(version="1", reason="first", parent=None)
    )
    assert decode_batch(encode_batch(Batch(header=first)), first.lane.type).header == first
    for header in (
        dataclasses.replace(first, genesis=None),
        dataclasses.replace(FULL_BATCH.header, genesis=first.genesis),
    ):
        with pytest.raises(PayloadError, match=r"header\.genesis"):
            _decode(encode_batch(Batch(header=header)))


def test_the_same_event_sealed_again_has_the_same_id() -> None:
    one = event_id("g-aaaaaaaaaaaa", bytes(16), "well-1/ch4", bytes(8), "active", 5)
    assert one == event_id("g-aaaaaaaaaaaa", bytes(16), "well-1/ch4", bytes(8), "active", 5)
    assert one == hashlib.sha256(b"g-aaaaaaaaaaaa\0well-1/ch4\0active\x005\0" + bytes(16 + 8)).digest()[:16]
    others = {
        event_id("g-aaaaaaaaaaab", bytes(16), "well-1/ch4", bytes(8), "active", 5),
        event_id("g-aaaaaaaaaaaa", b"\1" * 16, "well-1/ch4", bytes(8), "active", 5),
        event_id("g-aaaaaaaaaaaa", bytes(16), "well-2/ch4", bytes(8), "active", 5),
        event_id("g-aaaaaaaaaaaa", bytes(16), "well-1/ch4", b"\1" * 8, "active", 5),
        event_id("g-aaaaaaaaaaaa", bytes(16), "well-1/ch4", bytes(8), "cleared", 5),
        event_id("g-aaaaaaaaaaaa", bytes(16), "well-1/ch4", bytes(8), "active", 6),
    }
    assert len(others - {one}) == 6


def test_a_lane_knows_its_type() -> None:
    assert (Lane.ALARM.type, Lane.DATA.type) == (Type.ALARM_BATCH, Type.DATA_BATCH)


def test_a_statement_explains_itself() -> None:
    assert all(event.en and event.zh and event.unit for event in STATEMENT.events)
