"""A broker comes back and a thousand gateways with it: spread by chance, all back in time, no receipt lost."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import resource
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collector.mqtt_link import MqttLink as CollectorLink
from contracts.batch import Anchor, ClockState, Genesis, Lane, Origin, Statement
from contracts.envelope import Type, seal
from contracts.keys import PublicKey, Signer, Verifier
from contracts.topics import Channel, topic
from edge_agent import mqtt_link
from edge_agent.backoff import Backoff, Failure
from edge_agent.clock import AnchorClock, monotonic_us
from edge_agent.delivery import Delivery
from edge_agent.mqtt_link import MqttLink
from edge_agent.seal import Boot, Chain
from edge_agent.spool_records import EpochRow
from edge_agent.uplink import Uplink
from edge_agent.volatile import VolatileBatches
from tests.collector.gateways import Gateway
from tests.reliability import scale
from tests.reliability.brokers import Broker
from tests.reliability.checker import check
from tests.reliability.link_ends import Centre, until
from tests.reliability.oracle import Fact, Kind, batch_series

FLEET = 1000


# --- the waits alone, in virtual time --------------------------------------------------------


def returns_s(away_s: float, chance: Callable[[], float], *, is_urgent: bool = False) -> list[float]:
    """Returns when each gateway of a fleet finds the broker again, in seconds after it came back.

    All have been connected for long, and lose it in the same moment.
    """
    found = []
    for _ in range(FLEET):
        patience, at_s = Backoff().ended(3600.0), 0.0
        while True:
            at_s += patience.wait_s(Failure.REFUSED, roll=chance(), tried_for_s=0.0, is_urgent=is_urgent)
            patience = patience.failed()
            if at_s >= away_s:
                found.append(at_s - away_s)
                break
    return found


def fullest(times_s: list[float], bin_s: float = 1.0) -> float:
    """Returns the share of the fleet in the fullest bin."""
    return max(Counter(int(at / bin_s) for at in times_s).values()) / len(times_s)


@pytest.mark.parametrize("away_s", [120, 300, 900])
def test_after_a_long_outage_no_second_sees_more_than_a_twentieth_of_the_fleet(away_s: float) -> None:
    # A fixed seed: what is shown is the law of the waits, and not today's luck.
    times = returns_s(away_s, random.Random(away_s).random)
    assert fullest(times) <= 0.05
    assert max(times) <= 60


def test_after_a_short_outage_the_fleet_is_back_soon() -> None:
    """The price of a first wait of a second: a short outage costs little, and its second is a fuller one."""
    times = returns_s(5, random.Random(5).random)
    assert sorted(times)[FLEET // 2] <= 5
    assert max(times) <= 60
    assert fullest(times) <= 0.3


def test_with_alarms_waiting_no_gateway_waits_more_than_ten_seconds() -> None:
    assert max(returns_s(120, random.Random(6).random, is_urgent=True)) <= 10


def test_mutant_no_jitter_is_caught() -> None:
    assert fullest(returns_s(120, lambda: 1.0)) == 1.0


# --- a thousand real links -------------------------------------------------------------------


class NoSpool:
    """These gateways keep what they seal in memory: here is nothing."""

    def run(self, work: Callable[[Any], Any]) -> Any:
        async def answer() -> Any:
            return work(self)

        return asyncio.get_running_loop().create_task(answer())

    def read(self, *_: object, **__: object) -> list[Any]:
        return []

    def digest(self, *_: object) -> None:
        return None

    def catalogue(self, hash: bytes) -> None:
        return None


class LightGateway:
    """Everything from the seal on, without a disk."""

    def __init__(self, number: int, broker: Broker, collector: PublicKey, catalogue: Gateway, backoff: Backoff) -> None:
        self.signer = Signer.from_seed((number + 1000).to_bytes(32, "big"))
        self.id = self.signer.public.gateway_id
        self.delivery = Delivery(self.id, resend_after_us=10_000_000)
        self.boot = Boot(boot_id=os.urandom(16), counter=1)
        self.stored: dict[tuple[Lane, int], bytes] = {}
        self.memory = VolatileBatches()
        self.chain = Chain(
            gateway=self.id,
            signer=self.signer,
            boot=self.boot,
            epoch=os.urandom(8),
            genesis=Genesis(version="test", reason="first", parent=None),
            anchor=lambda: Anchor(
                mono_us=monotonic_us(),
                wall_us=time.time_ns() // 1000,
                state=ClockState.SYNCHRONISED,
                uncertainty_ms=5,
            ),
            origin=Origin.VOLATILE,
        )
        row = EpochRow(
            no=1,
            epoch=self.chain.epoch,
            reason="first",
            boot_id=self.boot.boot_id,
            boot_counter=1,
            started_us=monotonic_us(),
            started_uptime_s=0,
        )
        self.delivery.add_epoch(row)
        self.model = Gateway(seed=1, boot_id=self.boot.boot_id)
        self.model.id = self.id
        self.ups: list[float] = []
        self.link = MqttLink(
            client_id=self.id,
            host=broker.host,
            port=broker.port,
            subscribe=topic(self.id, Channel.RECEIPT).rsplit("/", 1)[0] + "/+",
            backoff=backoff,
        )
        self.uplink = Uplink(
            link=self.link,
            delivery=self.delivery,
            spool=NoSpool(),  # type: ignore[arg-type]
            signer=self.signer,
            collector_keys={collector.key_id: Verifier(collector)},
            clock=AnchorClock(),
            monotonic=monotonic_us,
            chain=lambda: self.chain,
            statement=lambda: Statement(mono_us=monotonic_us(), events=()),
            catalogue=lambda: (bytes(32), seal(Type.CATALOGUE, b"", self.signer)[0]),
            version="test",
            backlog_share=0.5,
            memory=self.memory,
        )
        told = self.link.on_up
        self.link.on_up = lambda: (self.ups.append(time.monotonic()), told())[1]

    def seal(self, lane: Lane) -> None:
        now = monotonic_us()
        events = (self.model.event("active", now),) if lane is Lane.ALARM else ()
        sealed = self.chain.seal(lane, sealed_us=now, events=events)
        self.delivery.sealed(1, lane, self.chain.head(lane))
        self.memory.add(1, sealed)
        self.stored[lane, sealed.seq] = sealed.digest
        self.uplink.offer(1, sealed)

    @property
    def waiting(self) -> int:
        backlog = self.delivery.backlog()
        return backlog.alarm_batches + backlog.data_batches


@pytest.mark.ci
async def test_a_thousand_gateways_come_back_and_every_batch_is_receipted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten times as fast as life: waits of up to 6 s for those of up to 60, bins of 0.1 s."""
    pace = 10 if not scale.torture() else 1
    logging.disable(logging.WARNING)  # a thousand links have much to say
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    chance = random.Random(scale.seed())
    broker = Broker(tmp_path / "broker", settings="max_queued_messages 20000\n")
    broker.start()
    centre = Centre(tmp_path / "collector")
    backoff = Backoff(base_s=1.0 / pace, most_s=60.0 / pace)
    fleet = [LightGateway(n, broker, centre.signer.public, Gateway(), backoff) for n in range(FLEET)]
    keys = {gateway.id: {gateway.signer.key_id: Verifier(gateway.signer.public)} for gateway in fleet}
    monkeypatch.setattr(centre.registry, "keys", keys.get)
    far = CollectorLink(broker.host, broker.port, centre.take, client_id="collector")
    centre.publish = far.publish
    tries: list[float] = []
    new_client = mqtt_link.MqttLink._new_client

    def note(link: MqttLink) -> Any:
        tries.append(time.monotonic())
        return new_client(link)

    monkeypatch.setattr(mqtt_link.MqttLink, "_new_client", note)
    gc.disable()
    try:
        centre.start()
        far.start()
        for gateway in fleet:
            gateway.uplink.start()
        await until(lambda: all(gateway.link.is_up for gateway in fleet), "the whole fleet on the broker", 30)
        for gateway in fleet:
            gateway.seal(Lane.DATA)
        await until(lambda: not any(gateway.waiting for gateway in fleet), "the first receipts", 30)
        # As after 60 s of health: an outage begins with the shortest wait.
        for gateway in fleet:
            gateway.ups.clear()
        broker.kill()
        lost = time.monotonic()
        await until(lambda: not any(gateway.link.is_up for gateway in fleet), "everybody to notice", 60)
        for gateway in fleet:
            gateway.seal(Lane.DATA)
            if chance.random() < 0.1:
                gateway.seal(Lane.ALARM)
        await asyncio.sleep(max(0.0, 120 / pace - (time.monotonic() - lost)))
        tries.clear()
        broker.start()
        back = time.monotonic()
        await until(lambda: all(gateway.ups for gateway in fleet), "the whole fleet back", 30)
        took = max(gateway.ups[-1] for gateway in fleet) - back
        await until(lambda: not any(gateway.waiting for gateway in fleet), "every receipt", 30)
        receipted = time.monotonic() - back
        # The first thousand tries after the return; a later one of the same gateway comes after a session.
        times = [at - back for at in sorted(tries)[:FLEET]]
        print(
            f"fullest bin {fullest(times, 1.0 / pace):.1%} of the fleet; all back after {took:.1f} s,"
            f" all receipted after {receipted:.1f} s (pace {pace}); {centre.verdicts}"
        )
        facts = []
        held = centre.rows(
            "SELECT g.id, n.epoch, e.lane, e.seq, e.digest FROM evidence e JOIN epoch_name n ON n.no=e.epoch_no"
            " JOIN gateway g ON g.no=e.gateway_no"
        )
        for gateway in fleet:
            for (lane, seq), digest in gateway.stored.items():
                chain = batch_series(gateway.id, gateway.chain.epoch, lane)
                facts += [Fact(kind, chain, seq, seq, digest.hex()) for kind in (Kind.ATTEMPT, Kind.STORED)]
        for id, epoch, lane, seq, digest in held:
            facts.append(Fact(Kind.READ, batch_series(id, epoch, Lane(lane)), seq, seq, digest.hex()))
        verdict = check(facts)
        print(verdict)
    finally:
        gc.enable()
        logging.disable(logging.NOTSET)
        await asyncio.gather(*(gateway.uplink.stop() for gateway in fleet))
        far.stop()
        centre.stop()
        broker.kill()
    assert took <= 120
    assert verdict.is_clean
