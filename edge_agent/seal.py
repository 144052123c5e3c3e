"""Sealing: an epoch's two chains, and the signing of what goes on them.  No disk, no link.

A :class:`Chain` is one epoch.  Each seal takes the next sequence number of its lane, names the
digest of the batch before it and the head of the other lane, and signs.  A sealed batch
is bytes from then on: it is stored and sent as it is, and nothing ever rewrites it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from contracts.batch import (
    NO_HEAD,
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
    Origin,
    Parent,
    Statement,
    encode_batch,
)
from contracts.confirmed import Confirmed
from contracts.envelope import seal as seal_envelope
from contracts.inhibit import Inhibit
from contracts.keys import Signer
from contracts.upkeep import Upkeep
from contracts.visit import Visit
from contracts.waveform import Waveform


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """One sealed batch."""

    epoch: bytes
    lane: Lane
    seq: int
    digest: bytes
    #: digest of the batch before it in its lane; empty for the first
    previous: bytes
    envelope: bytes
    readings: int
    #: monotonic us of its oldest and newest sample; of the seal where it has none
    first_us: int
    last_us: int
    #: of the catalogue it needs; empty when none
    catalogue: bytes
    #: the loss records that it carries
    losses: tuple[LossRecord, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """Which boot of which gateway this is."""

    boot_id: bytes
    counter: int


class Chain:
    """One epoch: two lanes, their heads, and the next seals."""

    def __init__(
        self,
        *,
        gateway: str,
        signer: Signer,
        boot: Boot,
        epoch: bytes,
        genesis: Genesis,
        anchor: Callable[[], Anchor],
        origin: Origin = Origin.LIVE,
    ) -> None:
        self.epoch = epoch
        self.genesis = genesis
        self.boot = boot
        self.is_volatile = origin is Origin.VOLATILE
        self._gateway = gateway
        self._signer = signer
        self._anchor = anchor
        self._origin = origin
        self._heads: dict[Lane, Head] = {Lane.ALARM: NO_HEAD, Lane.DATA: NO_HEAD}

    def head(self, lane: Lane) -> Head:
        """Returns the newest sealed batch of a lane."""
        return self._heads[lane]

    def as_parent(self) -> Parent:
        """Returns what the next epoch names as its parent."""
        return Parent(epoch=self.epoch, alarm=self._heads[Lane.ALARM], data=self._heads[Lane.DATA])

    def seal(
        self,
        lane: Lane,
        *,
        sealed_us: int,
        catalogue: bytes = b"",
        blocks: Sequence[Any] = (),
        readings: int = 0,
        first_us: int | None = None,
        last_us: int | None = None,
        events: Sequence[AlarmEvent] = (),
        statement: Statement | None = None,
        health: Sequence[HealthRecord] = (),
        losses: Sequence[LossRecord] = (),
        notes: Sequence[Note] = (),
        waveforms: Sequence[Waveform] = (),
        inhibits: Sequence[Inhibit] = (),
        visits: Sequence[Visit] = (),
        upkeep: Sequence[Upkeep] = (),
        confirmed: Sequence[Confirmed] = (),
        origin: Origin | None = None,
    ) -> Sealed:
        """Signs the next batch of a lane; the chain moves on only when that succeeded.

        Raises:
            contracts.errors.TooLargeError: the content does not fit one batch.
        """
        before = self._heads[lane]
        other = self._heads[Lane.DATA if lane is Lane.ALARM else Lane.ALARM]
        seq = before.seq + 1
        header = Header(
            gateway=self._gateway,
            epoch=self.epoch,
            lane=lane,
            seq=seq,
            previous=before.digest,
            other=other,
            boot_id=self.boot.boot_id,
            boot_counter=self.boot.counter,
            sealed_us=sealed_us,
            anchors=(self._anchor(),),
            catalogue=catalogue if blocks else b"",
            origin=origin or self._origin,
            readings=readings,
            genesis=self.genesis if seq == 1 else None,
        )
        body = encode_batch(
            Batch(
                header=header,
                blocks=tuple(blocks),
                events=tuple(events),
                statement=statement,
                health=tuple(health),
                losses=tuple(losses),
                notes=tuple(notes),
                waveforms=tuple(waveforms),
                inhibits=tuple(inhibits),
                visits=tuple(visits),
                upkeep=tuple(upkeep),
                confirmed=tuple(confirmed),
            )
        )
        envelope, digest = seal_envelope(lane.type, body, self._signer)
        self._heads[lane] = Head(seq=seq, digest=digest)
        return Sealed(
            epoch=self.epoch,
            lane=lane,
            seq=seq,
            digest=digest,
            previous=before.digest,
            envelope=envelope,
            readings=readings,
            first_us=sealed_us if first_us is None else first_us,
            last_us=sealed_us if last_us is None else last_us,
            catalogue=header.catalogue,
            losses=tuple(losses),
        )
