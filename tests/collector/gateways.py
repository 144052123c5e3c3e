"""A gateway for the collector's tests: seals real batches with a real key, in virtual time."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from collector.ingest import Accepted, judge_message
from collector.store import Arrival
from contracts.batch import (
    NO_HEAD,
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
    encode_batch,
    event_id,
)
from contracts.catalogue import Catalogue, CatalogueBlock, CatalogueDevice, CatalogueLimit, CataloguePoint
from contracts.columns import Columns, encode_block
from contracts.confirmed import Confirmed
from contracts.envelope import Type, seal
from contracts.inhibit import Inhibit
from contracts.keys import Signer, Verifier
from contracts.messages import Ask
from contracts.topics import Channel, topic
from contracts.upkeep import Upkeep
from contracts.visit import Visit, visit_id
from contracts.waveform import WaveChannel, Waveform, waveform_id

#: UTC us of virtual time 0 (2026-11-01 00:00:00)
START_US = 1_793_491_200_000_000


@dataclass
class Gateway:
    """Seals batches in one epoch; monotonic 0 is ``START_US`` plus ``offset_us``."""

    seed: int = 1
    epoch: bytes = b"epoch--1"
    boot_id: bytes = b"boot-0123456789a"
    boot_counter: int = 1
    points: int = 4
    offset_us: int = START_US
    clock: ClockState = ClockState.SYNCHRONISED
    parent: Parent | None = None
    float_kind: str = "f32"
    heads: dict[Lane, Head] = field(default_factory=lambda: {Lane.ALARM: NO_HEAD, Lane.DATA: NO_HEAD})

    def __post_init__(self) -> None:
        self.signer = Signer.from_seed(self.seed.to_bytes(32, "big"))
        self.id = self.signer.public.gateway_id
        limit = CatalogueLimit(
            rule_id="ch4-low", rule_hash=b"rule-hash-01", direction="high", value=10.0, severity="yellow",
            scheme="GB", en="pre-alarm", zh="低报",
        )  # fmt: skip
        points = tuple(
            CataloguePoint(
                key=f"well-{n}/ch4", quantity="ch4", unit="%{LEL}", kind="int" if n % 4 != 3 else self.float_kind,
                resolution=Fraction(1, 10) if n % 4 != 3 else Fraction(1), low=0.0, high=100.0,
                longest_silence_ms=5000, device=0, en=f"Well {n}", zh=f"{n}号井", limits=(limit,),
            )
            for n in range(self.points)
        )  # fmt: skip
        self.catalogue = Catalogue(
            gateway=self.id,
            en="Test block",
            zh="测试街区",
            devices=(
                CatalogueDevice(
                    id="well", en="Well", zh="井", port="tcp", unit_id=1, profile="p", profile_hash=b"profile-hash"
                ),
            ),
            points=points,
            blocks=(CatalogueBlock(points=tuple(range(self.points)), interval_ms=1000, phase_ms=0),),
        )

    @property
    def keys(self) -> dict[bytes, Verifier]:
        return {self.signer.key_id: Verifier(self.signer.public)}

    def block(self, sealed_us: int, times: list[int], values: list[list[object]], codes: object = None) -> list[object]:
        rows = [[row[i] for row in values] for i in range(len(times))] if values else []
        return encode_block(0, self.catalogue.kinds[0], sealed_us, times, rows, codes or [None] * len(times))  # type: ignore[arg-type]

    def seal(
        self,
        sealed_us: int,
        *,
        lane: Lane = Lane.DATA,
        times: list[int] | None = None,
        values: list[list[object]] | None = None,
        codes: object = None,
        events: tuple[AlarmEvent, ...] = (),
        statement: Statement | None = None,
        losses: tuple[LossRecord, ...] = (),
        health: tuple[HealthRecord, ...] = (),
        notes: tuple[Note, ...] = (),
        waveforms: tuple[Waveform, ...] = (),
        inhibits: tuple[Inhibit, ...] = (),
        visits: tuple[Visit, ...] = (),
        upkeep: tuple[Upkeep, ...] = (),
        confirmed: tuple[Confirmed, ...] = (),
        blocks: tuple[object, ...] | None = None,
        readings: int | None = None,
        origin: Origin = Origin.LIVE,
        keep_head: bool = False,
    ) -> tuple[str, bytes]:
        """Returns topic and envelope; ``values`` has one list per point."""
        head = self.heads[lane]
        if blocks is None:
            blocks = (self.block(sealed_us, times, values or [], codes),) if times else ()
        anchors = ()
        if self.clock is not ClockState.UNSET:
            anchors = (
                Anchor(mono_us=sealed_us, wall_us=sealed_us + self.offset_us, state=self.clock, uncertainty_ms=5),
            )
        header = Header(
            gateway=self.id,
            epoch=self.epoch,
            lane=lane,
            seq=head.seq + 1,
            previous=head.digest,
            other=self.heads[Lane(1 - lane)],
            boot_id=self.boot_id,
            boot_counter=self.boot_counter,
            sealed_us=sealed_us,
            anchors=anchors,
            catalogue=self.catalogue.hash if blocks else b"",
            origin=origin,
            readings=readings if readings is not None else (len(times) * self.points if times else 0),
            genesis=Genesis(version="0.1.0", reason="first", parent=self.parent) if head.seq == 0 else None,
        )
        batch = Batch(
            header=header,
            blocks=blocks,
            events=events,
            statement=statement,
            losses=losses,
            health=health,
            notes=notes,
            waveforms=waveforms,
            inhibits=inhibits,
            visits=visits,
            upkeep=upkeep,
            confirmed=confirmed,
        )
        envelope, digest = seal(lane.type, encode_batch(batch), self.signer)
        if not keep_head:
            self.heads[lane] = Head(seq=head.seq + 1, digest=digest)
        channel = Channel.ALARM if lane is Lane.ALARM else Channel.DATA
        return topic(self.id, channel), envelope

    def data(self, at_us: int, value: int = 50, ticks: int = 2, **more: object) -> tuple[str, bytes]:
        """Seals an ordinary batch: ``ticks`` seconds of all points around ``value``."""
        times = [at_us - 1_000_000 * (ticks - 1 - i) for i in range(ticks)]
        values: list[list[object]] = [
            [value + n + i if n % 4 != 3 else (value + i) / 8 for i in range(ticks)] for n in range(self.points)
        ]
        return self.seal(at_us + 10_000, times=times, values=values, **more)  # type: ignore[arg-type]

    def event(self, state: str, at_us: int, raised_by: bytes | None = None, **more: object) -> AlarmEvent:
        id = event_id(self.id, self.boot_id, "well-0/ch4", b"rule-hash-01", state, at_us)
        values: dict[str, object] = dict(  # noqa: C408  as the record's own call reads
            id=id, raised_by=raised_by or id, boot_id=self.boot_id, point="well-0/ch4", quantity="ch4", unit="%{LEL}",
            en="Well 0", zh="0号井", rule_id="ch4-low", rule_hash=b"rule-hash-01", rule_en="pre-alarm", rule_zh="低报",
            severity="yellow", scheme="GB", state=state, cause="limit", limit=10.0, value=12.5, code=0,
            sampled_us=at_us, judged_us=at_us + 500, marks=(),
        )  # fmt: skip
        return AlarmEvent(**(values | more))  # type: ignore[arg-type]

    def waveform(self, begin_us: int, event: bytes | None = None, ticks: int = 3) -> Waveform:
        times = [begin_us + 20_000 * n for n in range(ticks)]
        codes = [[0] * ticks]
        codes[0][1] = 128
        values: list[list[int | None]] = [[1024 + n if n != 1 else None for n in range(ticks)]]
        channel = WaveChannel(
            point="well-0/acceleration/x", quantity="acceleration", unit="[g]", kind="int",
            resolution=Fraction(1, 2048), en="Well 0 x", zh="0号井 x",
        )  # fmt: skip
        return Waveform(
            id=waveform_id(self.id, self.boot_id, "well", begin_us), device="well", cause="after-alarm", event=event,
            begin_us=begin_us, channels=(channel,), columns=Columns(0, times, values, codes),
        )  # fmt: skip

    def visit(self, began_us: int, point: str = "well-0/ch4", boot_id: bytes | None = None, **more: object) -> Visit:
        boot = boot_id or self.boot_id
        values: dict[str, object] = dict(  # noqa: C408  as the record's own call reads
            id=visit_id(self.id, boot, point, began_us), boot_id=boot, point=point, job="bump", began_us=began_us,
            ended_us=began_us + 90_000_000, by="Li Wei", result="passed", reason="", unit="%{LEL}", zero=0.5,
            applied=50.0, peak=49.5, t90_us=18_500_000, return_us=31_000_000, t90_limit_us=30_000_000,
            return_limit_us=60_000_000, serial="S1", note="",
        )  # fmt: skip
        return Visit(**(values | more))  # type: ignore[arg-type]

    def catalogue_message(self) -> tuple[str, bytes]:
        return topic(self.id, Channel.CATALOGUE), seal(Type.CATALOGUE, self.catalogue.body, self.signer)[0]

    def ask_message(
        self, at_us: int, events: tuple[AlarmEvent, ...] = (), unreceipted: tuple[bytes, ...] = ()
    ) -> tuple[str, bytes]:
        ask = Ask(
            gateway=self.id,
            epoch=self.epoch,
            boot_id=self.boot_id,
            boot_counter=self.boot_counter,
            nonce=b"nonce-0123456789",
            anchor=Anchor(mono_us=at_us, wall_us=at_us + self.offset_us, state=self.clock, uncertainty_ms=5),
            alarm=self.heads[Lane.ALARM],
            data=self.heads[Lane.DATA],
            unreceipted=unreceipted,
            statement=Statement(mono_us=at_us, events=events),
            version="0.1.0",
        )
        return topic(self.id, Channel.ASK), seal(Type.ASK, ask.to_body(), self.signer)[0]

    def arrival(self, message: tuple[str, bytes], at_us: int) -> Arrival:
        """Judges a message as if it came at monotonic ``at_us`` of a live link."""
        verdict = judge_message(message[0], message[1], lambda name: self.keys if name == self.id else None)
        return Arrival(verdict=verdict, arrived_us=at_us + START_US, topic=message[0])

    def digest(self, message: tuple[str, bytes]) -> bytes:
        verdict = judge_message(message[0], message[1], lambda name: self.keys)
        assert isinstance(verdict, Accepted)
        return verdict.digest
