"""Ingest: from a message to a verdict.  Verify, then decode; nothing is stored here.

Pure: bytes and registered keys in, one verdict out.  The order never changes: topic, size,
gateway, key, signature, inflation, decoding, and that the header names the gateway of the
topic.  Only bytes whose signature is right can be ``Refused`` in a receipt; everything
before that is quarantined and nobody is told, because anybody could have sent it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from contracts.batch import AlarmEvent, Anchor, Batch, Header, decode_batch
from contracts.catalogue import Catalogue
from contracts.columns import Columns, block_number, decode_block
from contracts.envelope import Opened, Type, open_envelope
from contracts.errors import ContractError, PayloadError
from contracts.fields import Fields, unpack
from contracts.keys import Verifier
from contracts.messages import Ask, Status
from contracts.topics import TYPES, Channel, Topic, parse

#: no time in signed content is later than this (us, some 285 years): sums of two fit every integer here
MAX_TIME_US = 1 << 53

#: the keys registered for a gateway, by key id; None when there is no such gateway
Keys = Callable[[str], Mapping[bytes, Verifier] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A verified batch that decodes; its blocks wait for the catalogue."""

    gateway: str
    batch: Batch
    digest: bytes
    envelope: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A verified batch whose header reads and whose content does not."""

    gateway: str
    header: Header
    digest: bytes
    envelope: bytes
    code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueArrived:
    """A verified catalogue."""

    gateway: str
    catalogue: Catalogue
    envelope: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A verified ask."""

    gateway: str
    ask: Ask
    digest: bytes
    envelope: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusSaid:
    """A verified birth or will."""

    gateway: str
    status: Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """Not accepted, and why; ``digest`` is SHA-256 over the bytes as they came."""

    topic: str
    code: str
    reason: str
    payload: bytes
    digest: bytes


Verdict = Accepted | Refused | CatalogueArrived | Asked | StatusSaid | Quarantined


def judge_message(topic: str, payload: bytes, keys: Keys) -> Verdict:
    """Returns the verdict on one message.

    Args:
        topic: as the broker gave it.
        payload: an envelope, or anything.
        keys: looks up the keys of a gateway.
    """
    try:
        place = parse(topic)
    except ContractError as error:
        return _quarantined(topic, "topic", str(error), payload)
    if place.channel in (Channel.RECEIPT, Channel.TIME, Channel.COMMAND):
        return _quarantined(topic, "topic", f"{place.channel} is ours to say", payload)
    registered = keys(place.gateway)
    if registered is None:
        return _quarantined(topic, "unknown_gateway", f"gateway {place.gateway} is not registered", payload)
    try:
        opened = open_envelope(payload, TYPES[place.channel], registered)
    except ContractError as error:
        return _quarantined(topic, error.code, str(error), payload)
    try:
        return _decode(place, opened, payload)
    except ContractError as error:
        if place.channel in (Channel.ALARM, Channel.DATA):
            header = _header_of(opened.body, place)
            if header is not None:
                return Refused(
                    gateway=place.gateway,
                    header=header,
                    digest=opened.digest,
                    envelope=payload,
                    code=error.code,
                    reason=str(error),
                )
        return _quarantined(topic, error.code, str(error), payload)


def _decode(place: Topic, opened: Opened, payload: bytes) -> Verdict:
    """Reads a verified body; raises ContractError."""
    gateway, body = place.gateway, opened.body
    match place.channel:
        case Channel.ALARM | Channel.DATA:
            batch = decode_bounded_batch(body, TYPES[place.channel])
            _same_gateway(batch.header.gateway, gateway)
            return Accepted(gateway=gateway, batch=batch, digest=opened.digest, envelope=payload)
        case Channel.CATALOGUE:
            catalogue = Catalogue.from_body(body)
            _same_gateway(catalogue.gateway, gateway)
            if catalogue.body != body:
                raise PayloadError("catalogue: not in the one form whose hash batches name")
            return CatalogueArrived(gateway=gateway, catalogue=catalogue, envelope=payload)
        case Channel.ASK:
            ask = Ask.from_body(body)
            _same_gateway(ask.gateway, gateway)
            _in_range((*_anchor_times(ask.anchor), *_event_times(ask.statement.events)))
            return Asked(gateway=gateway, ask=ask, digest=opened.digest, envelope=payload)
        case _:
            status = Status.from_body(body)
            _same_gateway(status.gateway, gateway)
            return StatusSaid(gateway=gateway, status=status)


def decode_bounded_batch(body: bytes, type: Type) -> Batch:
    """Returns a batch whose times can be reckoned with.

    Raises:
        ContractError: it does not decode, or states a time beyond ``MAX_TIME_US``.
    """
    batch = decode_batch(body, type)
    _in_range(_times(batch))
    return batch


def _times(batch: Batch) -> Iterator[tuple[str, int]]:
    yield "header.sealed_us", batch.header.sealed_us
    for anchor in batch.header.anchors:
        yield from _anchor_times(anchor)
    yield from _event_times(batch.events)
    if batch.statement is not None:
        yield from _event_times(batch.statement.events)
    for record in batch.health:
        yield "health.mono_us", record.mono_us
    for waveform in batch.waveforms:
        yield "waveform.begin_us", waveform.begin_us
    for visit in batch.visits:
        yield "visit.began_us", visit.began_us
        yield "visit.ended_us", visit.ended_us


def _anchor_times(anchor: Anchor) -> Iterator[tuple[str, int]]:
    yield "anchor.mono_us", anchor.mono_us
    yield "anchor.wall_us", anchor.wall_us


def _event_times(events: Iterable[AlarmEvent]) -> Iterator[tuple[str, int]]:
    for event in events:
        yield "event.sampled_us", event.sampled_us
        yield "event.judged_us", event.judged_us


def _in_range(times: Iterable[tuple[str, int]]) -> None:
    for name, value in times:
        if value > MAX_TIME_US:
            raise PayloadError(f"{name}: {value} us is no time that any clock of ours will show")


def _same_gateway(said: str, topic: str) -> None:
    if said != topic:
        raise PayloadError(f"gateway: the signed content says {said}, the topic {topic}")


def _header_of(body: bytes, place: Topic) -> Header | None:
    """Returns the header of a batch whose rest does not read, or None."""
    try:
        header = Header.from_wire(Fields("batch", unpack(body), 2).raw())
    except ContractError:
        return None
    if header.gateway != place.gateway or header.lane.type is not TYPES[place.channel]:
        return None
    return header


def _quarantined(topic: str, code: str, reason: str, payload: bytes) -> Quarantined:
    digest = hashlib.sha256(topic.encode() + b"\0" + payload).digest()
    return Quarantined(topic=topic, code=code, reason=reason, payload=payload, digest=digest)


def decode_columns(batch: Batch, catalogue: Catalogue) -> list[Columns]:
    """Returns the samples of a batch.

    Raises:
        PayloadError: a block that the catalogue does not have, of another form, or a number
            of samples that is not what the header says.
    """
    kinds, sealed_us = catalogue.kinds, batch.header.sealed_us
    columns, readings = [], 0
    for raw in batch.blocks:
        number = block_number(raw)
        if number >= len(kinds):
            raise PayloadError(f"block {number}: the catalogue has {len(kinds)} blocks")
        block = decode_block(raw, kinds[number], sealed_us)
        if max(block.times) > MAX_TIME_US:
            raise PayloadError(f"block {number}: a sample at a time that no clock of ours will show")
        readings += len(block.times) * len(kinds[number])
        if readings > batch.header.readings:  # at once: the rest may claim any number of samples
            break
        columns.append(block)
    if readings != batch.header.readings:
        raise PayloadError(f"header.readings: says {batch.header.readings}, the blocks have another number")
    return columns
