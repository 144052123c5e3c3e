"""A link that loses, repeats, delays, reorders, spoils and forges: nothing is lost, nothing is let go too soon."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collector.ingest import Quarantined, judge_message
from collector.store import Store
from contracts import envelope as envelope_module
from contracts.batch import Lane
from contracts.envelope import Type, decode_payload, seal, split
from contracts.keys import Signer
from contracts.receipt import Range, Receipt, Refused
from contracts.topics import TYPES, Channel, topic
from edge_agent import seal as seal_module
from edge_agent.content import Content
from edge_agent.delivery import BatchKey, Claim
from edge_agent.uplink import Uplink
from tests.collector.gateways import Gateway
from tests.reliability import scale
from tests.reliability.hostile_wire import Rule, Wire, delaying, losing, repeating, shuffling, spoiling
from tests.reliability.link_ends import Centre, Edge, judge, until

pytestmark = pytest.mark.usefixtures("patient_store")

Make = Callable[[random.Random], Rule]
#: name -> what befalls messages to the collector, and from it
FAULTS: dict[str, tuple[Make | None, Make | None]] = {
    "receipts are lost": (None, lambda chance: losing(chance, 0.7, only="down/receipt")),
    "receipts are late": (None, lambda chance: delaying(0.5, only="down/receipt")),
    "receipts come twice and more": (None, lambda chance: repeating(chance, 4)),
    "receipts come in any order": (None, lambda chance: shuffling(chance, 0.4)),
    "batches are lost": (lambda chance: losing(chance, 0.4), None),
    "batches come twice and more": (lambda chance: repeating(chance, 4), None),
    "batches come in any order": (lambda chance: shuffling(chance, 0.4), None),
    "catalogues are lost": (lambda chance: losing(chance, 0.9, only="up/catalogue"), None),
    "alarms are withheld": (lambda chance: losing(chance, 0.9, only="up/alarm"), None),
    "bits flip both ways": (lambda chance: spoiling(chance, 0.3), lambda chance: spoiling(chance, 0.3)),
    "everything is lost now and then": (lambda chance: losing(chance, 0.3), lambda chance: losing(chance, 0.3)),
}


class Pair:
    """One gateway, one collector, and the enemy between them."""

    def __init__(self, folder: Path, edge_class: type[Edge] = Edge) -> None:
        self.centre = Centre(folder / "collector")
        self.wire = Wire(self.centre, asyncio.get_running_loop())
        self.link = self.wire.link(Gateway(seed=1).id)
        self.edge = edge_class(folder / "gateway", self.link, self.centre.signer.public)
        self.centre.register(self.edge.signer.public)

    async def start(self) -> None:
        self.centre.start()
        await self.edge.start()
        self.link.up()

    async def stop(self) -> None:
        await self.edge.stop()
        self.centre.stop()

    def is_too_trusting(self) -> set[Any]:
        """Returns batches that the gateway takes to be safe and that the collector does not hold."""
        return self.edge.believed() - self.centre.committed(self.edge.id)

    async def work(self, chance: random.Random, rounds: int) -> None:
        """Seals readings and now and then an alarm, and looks each time at who believes what."""
        for number in range(rounds):
            self.edge.tick(chance.randint(1, 5))
            if chance.random() < 0.2:
                self.edge.alarm()
            await asyncio.sleep(0.01)
            if number % 10 == 0:
                assert not self.is_too_trusting()

    async def heal(self) -> None:
        """Lets everything pass from now on, in a new connection, and waits for every receipt."""
        self.wire.calm()
        self.link.down()
        await asyncio.sleep(0)
        self.link.up()
        await self.edge.until_receipted()

    def numbers(self) -> tuple[int, int, int, int, int]:
        verdict = judge(self.edge, self.centre.read(self.edge.id, self.edge.catalogue))
        print(verdict)
        return verdict.numbers


@pytest.fixture
async def make_pair(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    made: list[Pair] = []

    async def make(edge_class: type[Edge] = Edge) -> Pair:
        made.append(Pair(tmp_path / str(len(made)), edge_class))
        await made[-1].start()
        return made[-1]

    yield make
    for pair in made:
        await pair.stop()


@pytest.fixture
def chance() -> random.Random:
    number = scale.seed()
    print(f"QIANSHAO_SEED={number}")
    return random.Random(number)


CLEAN = (0, 0, 0, 0, 0)


async def suffer(pair: Pair, fault: str, chance: random.Random, rounds: int) -> None:
    rise, fall = FAULTS[fault]
    if rise is not None:
        pair.wire.rise_rule = rise(chance)
    if fall is not None:
        pair.wire.fall_rule = fall(chance)
    await pair.work(chance, rounds)
    await pair.heal()
    assert not pair.is_too_trusting()


@pytest.mark.slow
async def test_two_faults_of_the_wire_cost_nothing(make_pair: Any, chance: random.Random) -> None:
    pair = await make_pair()
    await suffer(pair, "everything is lost now and then", chance, 12)
    await suffer(pair, "batches come in any order", chance, 12)
    assert pair.numbers() == CLEAN


@pytest.mark.ci
@pytest.mark.parametrize("fault", FAULTS)
async def test_no_fault_of_the_wire_costs_a_reading(fault: str, make_pair: Any, chance: random.Random) -> None:
    pair = await make_pair()
    for _ in range(scale.times(1, 20)):
        await suffer(pair, fault, chance, 60)
    assert pair.numbers() == CLEAN
    report = pair.centre.verified()
    assert report.is_true, report
    assert len(await pair.edge.held()) == len(pair.edge.written.stored), "receipted batches stay until quota or days"


# --- mutants: what the table above must catch ------------------------------------------------


class TakesPubackForReceipt(Edge):
    """Lets a batch go when the broker has taken it."""

    class _Uplink(Uplink):
        def _launch(self, key: BatchKey, envelope: bytes, *, is_backlog: bool) -> bool:
            if not super()._launch(key, envelope, is_backlog=is_backlog):
                return False
            self._delivery._deliver(key[:2], [(key[2], key[2])])
            self._delivery._land(key)
            return True

    uplink_class = _Uplink


class BelievesAnyDigest(Edge):
    """Believes a receipt without looking at what it covers."""

    class _Uplink(Uplink):
        async def _digests(self, claims: list[Claim]) -> list[bytes | None]:
            return [claim.digest for claim in claims]

    uplink_class = _Uplink


@pytest.mark.ci
async def test_mutant_release_on_the_brokers_word_is_caught(make_pair: Any, chance: random.Random) -> None:
    pair = await make_pair(TakesPubackForReceipt)
    pair.wire.rise_rule = losing(chance, 0.4)
    for _ in range(40):
        pair.edge.tick()
        await asyncio.sleep(0.005)
    await pair.heal()
    lost, _, _, _, _ = pair.numbers()
    assert lost
    assert pair.is_too_trusting()


@pytest.mark.ci
async def test_mutant_no_unique_key_at_the_collector_is_caught(
    make_pair: Any, chance: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = await make_pair()

    def without_the_key(db: Any) -> None:
        (made,) = db.execute("SELECT sql FROM sqlite_master WHERE name='evidence'").fetchone()
        start = made.index("UNIQUE")
        db.execute("ALTER TABLE evidence RENAME TO evidence_with_key")
        db.execute(made[:start].rstrip().removesuffix(",") + ")")

    pair.centre.writer.run(without_the_key).result(10)
    monkeypatch.setattr(Store, "_holds", lambda *_: False)
    pair.wire.rise_rule = repeating(chance, 4)
    for _ in range(30):
        pair.edge.tick()
        await asyncio.sleep(0.005)
    await pair.heal()
    _, _, duplicated, _, _ = pair.numbers()
    assert duplicated


# --- receipts that are none ------------------------------------------------------------------

STRANGER = Signer.from_seed(b"s" * 32)


def forgeries(pair: Pair) -> dict[str, tuple[str, bytes]]:
    """Returns name -> message, none of which may make the gateway let go of anything."""
    edge, own = pair.edge, pair.centre.signer
    (epoch, lane, seq), digest = max(
        edge.written.stored.items(), key=lambda item: (item[0][1] is Lane.DATA, item[0][2])
    )
    (_, _, first), first_digest = next(iter(item for item in edge.written.stored.items() if item[0][1] is lane))
    true = Receipt(
        gateway=edge.id, collector_epoch=pair.centre.store._epoch, collector_since_us=pair.centre.store._since_us,
        serial=1 << 40, epoch=epoch, lane=lane, contiguous=seq, digest=digest,
    )  # fmt: skip
    here = topic(edge.id, Channel.RECEIPT)

    def signed(receipt: Receipt, signer: Signer = own, type: Type = Type.RECEIPT) -> tuple[str, bytes]:
        return here, seal(type, receipt.to_body(), signer)[0]

    envelope = signed(true)[1]
    _, payload, _ = split(envelope)
    other = Gateway(seed=77)
    wrong = bytes(32)
    return {
        "signed by a stranger": signed(true, STRANGER),
        "signed by the gateway itself": signed(true, edge.signer),
        "a stranger under the collector's key id": (
            here, split_and_pack(own.key_id, payload, split(signed(true, STRANGER)[1])[2]),
        ),
        "of another gateway": signed(replace(true, gateway=other.id)),
        "of another gateway on its own topic": (
            topic(other.id, Channel.RECEIPT), signed(replace(true, gateway=edge.id))[1],
        ),
        "signed as a time": signed(true, type=Type.TIME),
        "signed as a checkpoint": signed(true, type=Type.CHECKPOINT),
        "with another digest": signed(replace(true, digest=wrong)),
        "with the digest of another batch": signed(replace(true, digest=first_digest)),
        "with another digest further on": signed(
            replace(true, contiguous=first, digest=first_digest, also=(Range(first=first + 2, last=seq, digest=wrong),))
        ),
        "refusing a batch with another digest": signed(
            replace(true, contiguous=0, digest=b"", refused=(Refused(seq=seq, digest=wrong, code="payload"),))
        ),
        "for a batch that is not sealed yet": signed(replace(true, contiguous=seq + 1000)),
        "of an epoch that is not known": signed(replace(true, epoch=b"no epoch")),
        "of the other lane": signed(replace(true, lane=Lane(1 - lane))),
        "cut short": (here, envelope[:-1]),
        "with a byte too many": (here, envelope + b"\0"),
        "nothing": (here, b""),
    }  # fmt: skip


def split_and_pack(key_id: bytes, payload: bytes, signature: bytes) -> bytes:
    packed: bytes = envelope_module._library.packb([1, key_id, payload, signature], use_bin_type=True)
    return packed


async def without_receipts(pair: Pair, batches: int = 8) -> None:
    """Seals batches of which the collector hears nothing."""
    pair.wire.rise_rule = losing(random.Random(0), 1.0)
    for _ in range(batches):
        pair.edge.tick()
        await asyncio.sleep(0.002)
    pair.edge.alarm()
    await pair.edge.keeper.drain()
    await asyncio.sleep(0.02)


async def speak_all(pair: Pair, messages: list[tuple[str, bytes]]) -> None:
    for where, payload in messages:
        pair.link.on_message(where, payload)
        await asyncio.sleep(0)
    await pair.edge.spool.run(lambda spool: None)
    await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_no_forged_receipt_lets_anything_go(make_pair: Any, chance: random.Random) -> None:
    pair = await make_pair()
    await without_receipts(pair)
    for name, message in forgeries(pair).items():
        await speak_all(pair, [message])
        assert pair.edge.believed() == set(), name
    await pair.heal()
    assert pair.numbers() == CLEAN


@pytest.mark.ci
async def test_no_altered_receipt_lets_anything_go(make_pair: Any, chance: random.Random) -> None:
    pair = await make_pair()
    pair.wire.fall_rule = losing(chance, 1.0)
    for _ in range(5):
        pair.edge.tick()
        await asyncio.sleep(0.002)

    def telling() -> list[bytes]:
        """Those that cover a batch; the first ones may only ask for the catalogue."""
        receipts = [payload for where, payload in pair.wire.fallen if where.endswith("receipt")]
        return [item for item in receipts if Receipt.from_body(decode_payload(split(item)[1])).contiguous]

    await until(telling, "a receipt for a batch")
    true = telling()[-1]
    here = topic(pair.edge.id, Channel.RECEIPT)
    spoilt = [true[:at] + bytes([true[at] ^ 1 << bit]) + true[at + 1 :] for at in range(len(true)) for bit in range(8)]
    await speak_all(pair, [(here, payload) for payload in spoilt])
    assert pair.edge.believed() == set()
    await speak_all(pair, [(here, true)])
    await until(pair.edge.believed, "the true receipt to be believed")


@pytest.mark.ci
async def test_mutant_delete_without_a_look_at_the_digest_is_caught(make_pair: Any, chance: random.Random) -> None:
    pair = await make_pair(BelievesAnyDigest)
    await without_receipts(pair)
    await speak_all(pair, [message for name, message in forgeries(pair).items() if "digest" in name])
    await pair.heal()
    lost, _, _, _, _ = pair.numbers()
    assert lost


@pytest.mark.ci
async def test_stale_receipts_change_nothing(make_pair: Any, chance: random.Random) -> None:
    pair = await make_pair()
    await pair.work(chance, 30)
    await pair.edge.until_receipted()
    before = pair.edge.believed()
    old = [message for message in pair.wire.fallen if message[0].endswith("receipt")]
    ignored = pair.edge.uplink.counts["receipts_ignored"]
    await speak_all(pair, chance.sample(old, len(old)))
    assert pair.edge.believed() == before
    assert pair.edge.uplink.counts["receipts_ignored"] == ignored + len(old)


# --- what a stolen client can send -----------------------------------------------------------


def counts_of_rows(centre: Centre) -> dict[str, int]:
    tables = ("evidence", "epoch_name", "chain", "catalogue", "alarm", "alarm_event", "rollup", "latest", "loss", "ask")
    return {name: centre.rows(f"SELECT count(*) FROM {name}")[0][0] for name in tables}


@pytest.mark.ci
async def test_what_was_captured_adds_no_row_when_it_is_played_again(
    make_pair: Any, chance: random.Random, tmp_path: Path
) -> None:
    pair = await make_pair()
    await pair.work(chance, 150)
    await pair.edge.until_receipted()
    captured = list(pair.wire.risen)
    before = counts_of_rows(pair.centre)
    played = 0
    for centre in (pair.centre, None):
        if centre is None:  # the same after a restart of the collector
            pair.link.down()
            pair.centre.stop()
            pair.centre = centre = Centre(pair.centre.data)
            centre.registry.load()
            centre.start()
        duplicates = centre.writer.counters()["ingest_duplicates"]
        for _ in range(scale.times(5_000, 100_000) // len(captured)):
            for message in chance.sample(captured, len(captured)):
                centre.take(*message)
                played += 1
        await until(lambda centre=centre: not centre.writer.counters()["ingest_queue"], "the queue to be empty")
        await asyncio.sleep(0.2)
        assert counts_of_rows(centre) == before
        assert centre.writer.counters()["ingest_duplicates"] > duplicates
    print(f"{played} messages played again")
    assert pair.numbers() == CLEAN


def every_flip(envelope: bytes, chance: random.Random, count: int) -> list[bytes]:
    """Returns every bit flipped once, then bytes replaced, cut and added, up to a count."""
    found = [
        envelope[:at] + bytes([envelope[at] ^ 1 << bit]) + envelope[at + 1 :]
        for at in range(len(envelope))
        for bit in range(8)
    ]
    while len(found) < count:
        at = chance.randrange(len(envelope))
        match chance.randrange(4):
            case 0:
                other = bytes([(envelope[at] + chance.randint(1, 255)) % 256])
                found.append(envelope[:at] + other + envelope[at + 1 :])
            case 1:
                found.append(envelope[:at])
            case 2:
                found.append(envelope + chance.randbytes(chance.randint(1, 8)))
            case _:
                found.append(envelope[:at] + chance.randbytes(1) + envelope[at:])
    return found if count >= len(found) else chance.sample(found, count)


def envelopes(gateway: Gateway) -> dict[Channel, tuple[str, bytes]]:
    return {
        Channel.DATA: gateway.data(5_000_000),
        Channel.ALARM: gateway.seal(6_000_000, lane=Lane.ALARM, events=(gateway.event("active", 6_000_000),)),
        Channel.CATALOGUE: gateway.catalogue_message(),
        Channel.ASK: gateway.ask_message(7_000_000),
    }


def reject_all(chance: random.Random, count: int) -> None:
    gateway = Gateway()
    messages = envelopes(gateway)
    for where, payload in messages.values():
        for spoilt in every_flip(payload, chance, count // len(messages)):
            verdict = judge_message(where, spoilt, lambda name: gateway.keys if name == gateway.id else None)
            assert isinstance(verdict, Quarantined) or is_same_thing(spoilt, payload), (where, spoilt.hex())


def is_same_thing(spoilt: bytes, payload: bytes) -> bool:
    """Whether only the wrapper differs: a longer form of its numbers is the same signed thing (docs/wire-format.md)."""
    return spoilt != payload and split(spoilt) == split(payload)


def test_a_longer_form_of_the_wrapper_is_the_same_thing_with_the_same_digest() -> None:
    gateway = Gateway()
    for where, payload in envelopes(gateway).values():
        longer = payload[:1] + b"\xcc" + payload[1:]
        assert is_same_thing(longer, payload)
        first, second = (judge_message(where, item, lambda name: gateway.keys) for item in (payload, longer))
        assert not isinstance(second, Quarantined)
        assert getattr(first, "digest", None) == getattr(second, "digest", None)


def test_a_few_hundred_altered_envelopes_are_rejected(chance: random.Random) -> None:
    reject_all(chance, 800)


@pytest.mark.ci
def test_every_altered_envelope_is_rejected(chance: random.Random) -> None:
    reject_all(chance, scale.times(20_000, 400_000))


def test_what_was_signed_as_one_thing_is_never_taken_for_another() -> None:
    gateway = Gateway()
    for channel, (_, payload) in envelopes(gateway).items():
        for other in TYPES:
            if other is channel or other.value.startswith("down/"):
                continue
            verdict = judge_message(topic(gateway.id, other), payload, lambda name: gateway.keys)
            assert isinstance(verdict, Quarantined)
            assert verdict.code == "signature", (channel, other, verdict.reason)


def test_mutant_no_type_in_the_signature_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelope_module, "to_be_signed", lambda type, payload: b"qianshao" + payload)
    with pytest.raises(AssertionError):
        test_what_was_signed_as_one_thing_is_never_taken_for_another()


def test_a_gateway_cannot_speak_for_another() -> None:
    mine, other = Gateway(seed=1), Gateway(seed=2)
    keys = {mine.id: mine.keys, other.id: other.keys}
    for _, payload in envelopes(mine).values():
        for channel in envelopes(mine):
            verdict = judge_message(topic(other.id, channel), payload, keys.get)
            assert isinstance(verdict, Quarantined)
            assert verdict.code == "unknown_key"
    # Signed by its own key on its own topic, and naming the other inside.
    impostor = Gateway(seed=1)
    impostor.id = other.id
    for channel, (_, payload) in envelopes(impostor).items():
        verdict = judge_message(topic(mine.id, channel), payload, keys.get)
        if channel is not Channel.CATALOGUE:  # its document was made with the true name
            assert isinstance(verdict, Quarantined), channel
            assert "signed content says" in verdict.reason


# --- poison ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "where",
    [
        pytest.param("in a block", marks=pytest.mark.slow),
        pytest.param("behind the header", marks=pytest.mark.ci),
    ],
)
async def test_a_poisoned_batch_is_refused_and_the_next_flow(
    where: str, make_pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = await make_pair()
    edge = pair.edge
    for _ in range(3):
        edge.tick()
    if where == "in a block":
        content = Content(sealed_us=1, catalogue=edge.catalogue.hash, blocks=[[0, "rubbish"]], readings=4)
        edge.keeper.seal_data(content)
    else:
        true = seal_module.encode_batch
        with monkeypatch.context() as patch:
            patch.setattr(seal_module, "encode_batch", lambda batch: true(batch)[:-1] + b"\xa3bad")
            edge.keeper.seal_data(Content(sealed_us=1))
    for _ in range(3):
        edge.tick()
    edge.alarm()
    await edge.until_receipted(10)
    assert [entry[2] for entry in edge.delivery.refused] == [4]
    read = pair.centre.read(edge.id, edge.catalogue)
    assert [place[2] for place in read.refused] == [4]
    assert pair.numbers() == CLEAN
    assert pair.centre.rows("SELECT count(*) FROM quarantine")[0][0] == 1


def test_the_table_of_receipts_reads(tmp_path: Path) -> None:
    """A forged receipt that did not even decode would show nothing."""
    receipt = Receipt(
        gateway=Gateway().id, collector_epoch=b"collect9", collector_since_us=1, serial=1, epoch=b"epoch--1",
        lane=Lane.DATA, contiguous=1, digest=bytes(32),
    )  # fmt: skip
    assert Receipt.from_body(decode_payload(split(seal(Type.RECEIPT, receipt.to_body(), STRANGER)[0])[1])) == receipt
