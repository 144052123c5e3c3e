"""Verdicts: verify before decoding; only verified bytes are ever refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.ingest import (
    MAX_TIME_US,
    Accepted,
    Asked,
    CatalogueArrived,
    Quarantined,
    Refused,
    Verdict,
    decode_columns,
    judge_message,
)
from contracts.batch import ClockState, HealthRecord, Lane, Statement
from contracts.envelope import Type, seal
from contracts.errors import PayloadError
from contracts.fields import pack
from contracts.keys import Signer
from contracts.topics import Channel, topic
from tests.collector.gateways import Gateway

S = 1_000_000
G = Gateway()


def judge(where: str, payload: bytes) -> Verdict:
    return judge_message(where, payload, lambda name: G.keys if name == G.id else None)


def test_a_batch_is_accepted_and_decodes() -> None:
    verdict = judge(*Gateway().data(10 * S))
    assert isinstance(verdict, Accepted)
    columns = decode_columns(verdict.batch, G.catalogue)
    assert columns[0].values[0] == [50, 51]


def test_catalogue_and_ask() -> None:
    assert isinstance(judge(*G.catalogue_message()), CatalogueArrived)
    assert isinstance(judge(*G.ask_message(S)), Asked)


@pytest.mark.parametrize(
    ("where", "code"),
    [
        ("nonsense", "topic"),
        (topic(G.id, Channel.RECEIPT), "topic"),
        (topic(Gateway(seed=9).id, Channel.DATA), "unknown_gateway"),
        (topic(G.id, Channel.ALARM), "signature"),
        (topic(G.id, Channel.CATALOGUE), "signature"),
        (topic(G.id, Channel.DATA).replace("/v1/", "/v2/"), "topic"),
    ],
)
def test_a_batch_on_another_topic_is_quarantined(where: str, code: str) -> None:
    verdict = judge(where, Gateway().data(10 * S)[1])
    assert isinstance(verdict, Quarantined)
    assert verdict.code == code


def test_another_key_under_a_registered_name_is_quarantined() -> None:
    stranger = Signer.from_seed(b"x" * 32)
    body = b"whatever"
    verdict = judge(topic(G.id, Channel.DATA), seal(Type.DATA_BATCH, body, stranger)[0])
    assert isinstance(verdict, Quarantined)
    assert verdict.code == "unknown_key"


def test_a_gateway_cannot_speak_for_another() -> None:
    other = Gateway(seed=2)
    where, payload = other.data(10 * S)
    body = judge_message(where, payload, lambda name: other.keys)
    assert isinstance(body, Accepted)
    from contracts.batch import encode_batch

    forged = seal(Type.DATA_BATCH, encode_batch(body.batch), G.signer)[0]
    verdict = judge(topic(G.id, Channel.DATA), forged)
    assert isinstance(verdict, Quarantined)
    assert verdict.code == "payload"


def _with_sections(sections: object) -> bytes:
    accepted = judge(*Gateway().data(10 * S))
    assert isinstance(accepted, Accepted)
    return seal(Type.DATA_BATCH, pack([accepted.batch.header.to_wire(), sections]), G.signer)[0]


@pytest.mark.parametrize("sections", [7, [[1, 2, 3]], [[3, "no statement"]], [[2, [["short"]]]]])
def test_verified_bytes_with_wrong_content_are_refused_with_their_place(sections: object) -> None:
    verdict = judge(topic(G.id, Channel.DATA), _with_sections(sections))
    assert isinstance(verdict, Refused)
    assert (verdict.header.seq, verdict.header.lane, verdict.code) == (1, Lane.DATA, "payload")


def test_verified_bytes_without_a_header_cannot_be_placed() -> None:
    verdict = judge(topic(G.id, Channel.DATA), seal(Type.DATA_BATCH, pack([1, 2]), G.signer)[0])
    assert isinstance(verdict, Quarantined)


@given(st.data())
def test_any_flipped_bit_is_a_verdict_and_never_an_exception(data: st.DataObject) -> None:
    where, payload = Gateway().data(10 * S)
    at = data.draw(st.integers(0, len(payload) * 8 - 1))
    changed = bytearray(payload)
    changed[at // 8] ^= 1 << at % 8
    assert isinstance(judge(where, bytes(changed)), Quarantined)


@given(st.binary(max_size=300), st.text(max_size=60))
def test_anything_is_a_verdict(payload: bytes, where: str) -> None:
    assert isinstance(judge(where, payload), Quarantined)
    assert isinstance(judge(topic(G.id, Channel.DATA), payload), Quarantined)


@pytest.mark.parametrize(
    "blocks", [[9, [0], [1, 2, 3], b"\0\0\0\0", None, None], ["x"], [0, [0], None, None, None, None]]
)
def test_blocks_that_do_not_fit_the_catalogue(blocks: list[object]) -> None:
    verdict = judge(*Gateway().seal(S, blocks=(blocks,)))
    assert isinstance(verdict, Accepted)
    with pytest.raises(PayloadError):
        decode_columns(verdict.batch, G.catalogue)


def test_a_wrong_count_of_readings_is_refused() -> None:
    verdict = judge(*Gateway().data(10 * S, readings=99))
    assert isinstance(verdict, Accepted)
    with pytest.raises(PayloadError, match="readings"):
        decode_columns(verdict.batch, G.catalogue)


LATE = MAX_TIME_US + 1


def _in_bounds() -> Gateway:
    return Gateway(clock=ClockState.UNSET)


@pytest.mark.parametrize(
    "message",
    [
        _in_bounds().seal(LATE),
        _in_bounds().seal(S, lane=Lane.ALARM, events=(G.event("active", LATE),)),
        _in_bounds().seal(S, lane=Lane.ALARM, events=(G.event("active", S, sampled_us=LATE),)),
        _in_bounds().seal(S, statement=Statement(mono_us=S, events=(G.event("active", LATE),))),
        _in_bounds().seal(S, health=(HealthRecord(subject="agent", mono_us=(1 << 63) - 1, facts=()),)),
        Gateway(offset_us=LATE).seal(S),
    ],
)
def test_times_that_no_clock_will_ever_show_are_refused(message: tuple[str, bytes]) -> None:
    verdict = judge(*message)
    assert isinstance(verdict, Refused)
    assert "no time" in verdict.reason


def test_an_ask_at_such_a_time_is_quarantined() -> None:
    assert isinstance(judge(*Gateway(clock=ClockState.UNSET).ask_message(LATE)), Quarantined)
    assert isinstance(judge(*G.ask_message(S, (G.event("active", LATE),))), Quarantined)


def test_samples_at_such_a_time_are_refused() -> None:
    message = Gateway().seal(S, times=[S, LATE], values=[[1, 2], [1, 2], [1, 2], [1.0, 2.0]])
    verdict = judge(*message)
    assert isinstance(verdict, Accepted)
    with pytest.raises(PayloadError, match="at a time"):
        decode_columns(verdict.batch, G.catalogue)
