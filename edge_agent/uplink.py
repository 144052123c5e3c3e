"""The uplink: brings sealed batches to the collector, in the right order, until receipted.

On every connect: status and ask first (the ask states all standing alarms in full), then the
catalogue, then alarms, then the newest data, then history oldest first within its share.
What is sealed while the link is up goes at once, alarms before data.  A batch waits for a
signed receipt whose digests fit; only then may the spool let it go.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping

from contracts.batch import Lane, Statement
from contracts.envelope import Type, open_envelope, seal
from contracts.errors import ContractError, TooLargeError
from contracts.keys import Signer, Verifier
from contracts.messages import Ask, Status, Time
from contracts.receipt import Receipt
from contracts.topics import Channel, topic
from edge_agent.clock import AnchorClock
from edge_agent.delivery import BatchKey, Claim, Delivery
from edge_agent.errors import SpoolError
from edge_agent.link import Link
from edge_agent.seal import Chain, Sealed
from edge_agent.spool_records import StoredBatch
from edge_agent.spool_thread import SpoolThread
from edge_agent.volatile import VolatileBatches

_LOG = logging.getLogger(__name__)
_CHANNELS = {Lane.ALARM: Channel.ALARM, Lane.DATA: Channel.DATA}
#: history is read from the spool in pieces of this size
_CHUNK_BYTES = 256 * 1024
#: pause after the store or the link took nothing although something waits
_TRY_AGAIN_S = 1.0
#: catalogues of this run that are kept in memory for a collector that asks
_MOST_CATALOGUES = 16


class Uplink:
    """Sends, listens for receipts, and tells what it knows of the link."""

    def __init__(
        self,
        *,
        link: Link,
        delivery: Delivery,
        spool: SpoolThread,
        signer: Signer,
        collector_keys: Mapping[bytes, Verifier],
        clock: AnchorClock,
        monotonic: Callable[[], int],
        chain: Callable[[], Chain],
        statement: Callable[[], Statement],
        catalogue: Callable[[], tuple[bytes, bytes]],
        version: str,
        backlog_share: float,
        memory: VolatileBatches,
    ) -> None:
        """Takes what it needs; connects nothing.

        Args:
            memory: batches of a volatile epoch, shared with the keeper; what is receipted leaves it.
        """
        self._link = link
        self._delivery = delivery
        self._spool = spool
        self._signer = signer
        self._gateway = signer.public.gateway_id
        self._keys = collector_keys
        self._clock = clock
        self._monotonic = monotonic
        self._chain = chain
        self._statement = statement
        self._catalogue = catalogue
        self._version = version
        self._share = backlog_share
        self._session = 0
        self._nonce = b""
        self._asked_us = 0
        self._in_memory = memory
        self._wake = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        #: catalogues of this run by hash: the store may not have them (yet)
        self._catalogues: dict[bytes, bytes] = {}
        #: epochs of which the newest batch has gone out since the connect
        self._live: set[int] = set()
        self._believing: set[asyncio.Task[None]] = set()
        self._is_blocked = False
        self.connected_us: int | None = None
        self.receipt_us: int | None = None
        self.counts = {"sent": 0, "resent": 0, "receipts": 0, "receipts_ignored": 0, "connects": 0, "bytes_sent": 0}
        #: called with a batch whose bytes in the store are damaged
        self.on_damaged: Callable[[int, StoredBatch], None] = lambda epoch_no, batch: None
        link.on_up = self._up
        link.on_down = self._down
        link.on_message = self._message

    def will(self) -> bytes:
        """Returns the signed last will of the next session."""
        return self._status(online=False, session=self._session + 1)

    def _status(self, *, online: bool, session: int) -> bytes:
        status = Status(
            gateway=self._gateway, epoch=self._chain().epoch, session=session, online=online, version=self._version
        )
        return seal(Type.STATUS, status.to_body(), self._signer)[0]

    @property
    def is_up(self) -> bool:
        """Whether the broker has accepted the connection."""
        return self._link.is_up

    def start(self) -> None:
        """Starts connecting and sending; call on the running loop."""
        self._pump = asyncio.get_running_loop().create_task(self._run())
        self._link.start()

    async def stop(self) -> None:
        """Stops sending and leaves with a signed farewell; safe to call twice."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
            self._pump = None
        await self._link.stop((topic(self._gateway, Channel.STATUS), self._status(online=False, session=self._session)))

    # -- connecting ------------------------------------------------------------------

    def _up(self) -> None:
        self._session += 1
        self.counts["connects"] += 1
        self.connected_us = self._monotonic()
        self._delivery.forget_flight()
        self._live.clear()
        _LOG.info("connected to the broker")
        # Retained, or the last will of the session before would go on saying that nobody is here.
        birth = self._status(online=True, session=self._session)
        self._link.publish(topic(self._gateway, Channel.STATUS), birth, retain=True)
        self._wake.set()
        self.ask()
        self._send_catalogue()

    def _down(self, reason: str) -> None:
        self.connected_us = None
        _LOG.warning("the link is down: %s", reason)

    def ask(self) -> None:
        """States where this gateway stands and asks the collector for the same."""
        self._nonce = os.urandom(16)
        self._asked_us = self._monotonic()
        statement = self._statement()
        while True:
            try:
                envelope = seal(Type.ASK, self._ask(statement).to_body(), self._signer)[0]
                break
            except TooLargeError:
                if not statement.events:
                    raise
                # The gravest stand first; the others are on their way as events.
                kept = statement.events[: len(statement.events) // 2]
                _LOG.warning("%d alarms stand: the gravest %d are stated", len(statement.events), len(kept))
                statement = Statement(mono_us=statement.mono_us, events=kept)
        self._publish(Channel.ASK, envelope)

    def _ask(self, statement: Statement) -> Ask:
        chain = self._chain()
        return Ask(
            gateway=self._gateway,
            epoch=chain.epoch,
            boot_id=chain.boot.boot_id,
            boot_counter=chain.boot.counter,
            nonce=self._nonce,
            anchor=self._clock.anchor(),
            alarm=chain.head(Lane.ALARM),
            data=chain.head(Lane.DATA),
            unreceipted=self._delivery.unreceipted(),
            statement=statement,
            version=self._version,
        )

    def _send_catalogue(self) -> None:
        hash, envelope = self._catalogue()
        self._catalogues[hash] = envelope
        while len(self._catalogues) > _MOST_CATALOGUES:
            del self._catalogues[next(iter(self._catalogues))]
        self._publish(Channel.CATALOGUE, envelope)

    def _publish(self, channel: Channel, payload: bytes) -> bool:
        if not self._link.publish(topic(self._gateway, channel), payload):
            return False
        self.counts["bytes_sent"] += len(payload)
        return True

    # -- sending ---------------------------------------------------------------------

    def offer(self, epoch_no: int, sealed: Sealed) -> None:
        """Takes a batch just sealed and kept; sends it now when the link is up."""
        key = (epoch_no, sealed.lane, sealed.seq)
        if self._link.is_up and not self._delivery.is_in_flight(key):
            if self._launch(key, sealed.envelope, is_backlog=False):
                self._live.add(epoch_no)
            else:
                self._wake.set()

    def catalogue_changed(self) -> None:
        """Sends the new catalogue before the first batch that uses it."""
        self._send_catalogue()

    def _launch(self, key: BatchKey, envelope: bytes, *, is_backlog: bool) -> bool:
        if not self._publish(_CHANNELS[key[1]], envelope):
            self._is_blocked = True
            return False
        self._delivery.launched(key, len(envelope), self._monotonic(), is_backlog=is_backlog)
        self.counts["sent"] += 1
        return True

    async def _run(self) -> None:
        while True:
            # Cleared first: what happens while a piece is read from the disk must not be slept over.
            self._wake.clear()
            self._is_blocked = False
            is_more = False
            try:
                is_more = self._link.is_up and await self._pump_once()
            except SpoolError as error:
                self._is_blocked = True
                _LOG.warning("history waits: %s", error)
            except Exception:
                # The outermost loop of sending: a defect must not end it unseen.
                self._is_blocked = True
                _LOG.exception("sending failed; it goes on in %.0f s", _TRY_AGAIN_S)
            if is_more:
                await asyncio.sleep(0)
                continue
            try:
                await asyncio.wait_for(self._wake.wait(), self._sleep_s())
            except TimeoutError:
                self.counts["resent"] += self._delivery.expire(self._monotonic())

    def _sleep_s(self) -> float | None:
        """Returns after how long sending has something to do although nobody wakes it."""
        if not self._link.is_up:
            return None
        if self._is_blocked:
            return _TRY_AGAIN_S
        expiry = self._delivery.next_expiry_us()
        return None if expiry is None else max(0.05, (expiry - self._monotonic()) / 1e6 + 0.05)

    async def _pump_once(self) -> bool:
        """Sends one piece of what waits; returns whether there may be more to do now."""
        for epoch_no, ranges in self._delivery.to_send(Lane.ALARM):
            if await self._send(epoch_no, Lane.ALARM, ranges, limit=_CHUNK_BYTES, is_backlog=False):
                return True
        waiting = self._delivery.to_send(Lane.DATA)
        if not waiting or self._is_blocked:
            return False
        newest_no, newest = next(
            (item for item in waiting if item[0] == self._delivery.number(self._chain().epoch)), waiting[-1]
        )
        if newest_no not in self._live:
            self._live.add(newest_no)
            last = newest[-1][1]
            if await self._send(newest_no, Lane.DATA, [(last, last)], limit=_CHUNK_BYTES, is_backlog=False):
                return True
        room = self._delivery.room(self._share)
        if room <= 0:
            return False
        for epoch_no, ranges in waiting:
            if await self._send(epoch_no, Lane.DATA, ranges, limit=min(room, _CHUNK_BYTES), is_backlog=True):
                return True
        return False

    async def _send(
        self, epoch_no: int, lane: Lane, ranges: list[tuple[int, int]], *, limit: int, is_backlog: bool
    ) -> bool:
        """Sends up to ``limit`` bytes of one lane; returns whether anything went out."""
        held = self._held(epoch_no, lane, ranges, limit)
        for place, (key, envelope) in enumerate(held):
            if not self._launch(key, envelope, is_backlog=is_backlog):
                return place > 0
        if held:
            return True
        batches = await self._spool.run(
            lambda spool: spool.read(epoch_no, lane, ranges, limit_bytes=limit, limit_rows=64)
        )
        sent = False
        for batch in batches:
            key = (epoch_no, lane, batch.seq)
            if self._delivery.is_settled(key) or self._delivery.is_in_flight(key):
                continue
            if not batch.is_whole:
                self.on_damaged(epoch_no, batch)
                # What is behind it is for the next round, whether or not anything went out in this one.
                sent = sent or self._delivery.is_settled(key)
                continue
            if not self._launch(key, batch.envelope, is_backlog=is_backlog):
                return sent
            sent = True
        return sent

    def _held(
        self, epoch_no: int, lane: Lane, ranges: list[tuple[int, int]], limit: int
    ) -> list[tuple[BatchKey, bytes]]:
        """Returns batches that only memory has, up to a size."""
        found: list[tuple[BatchKey, bytes]] = []
        size = 0
        if not len(self._in_memory):
            return found
        for first, last in ranges:
            for seq in range(first, last + 1):
                key = (epoch_no, lane, seq)
                kept = self._in_memory.get(key)
                if kept is None:
                    break
                found.append((key, kept.envelope))
                size += len(kept.envelope)
                if size >= limit:
                    return found
        return found

    # -- listening -------------------------------------------------------------------

    def _message(self, topic_text: str, payload: bytes) -> None:
        try:
            if topic_text == topic(self._gateway, Channel.RECEIPT):
                opened = open_envelope(payload, Type.RECEIPT, self._keys)
                self._receipt(Receipt.from_body(opened.body))
            elif topic_text == topic(self._gateway, Channel.TIME):
                opened = open_envelope(payload, Type.TIME, self._keys)
                self._time(Time.from_body(opened.body))
        except ContractError as error:
            self.counts["receipts_ignored"] += 1
            _LOG.warning("ignored a message on %s: %s", topic_text, error)

    def _time(self, time: Time) -> None:
        if time.gateway != self._gateway or time.nonce != self._nonce:
            self.counts["receipts_ignored"] += 1
            return
        self._nonce = b""
        self._clock.learn(sent_us=self._asked_us, received_us=self._monotonic(), wall_us=time.wall_us)

    def _receipt(self, receipt: Receipt) -> None:
        verdict, claims = self._delivery.claims(receipt)
        if verdict != "applied":
            self.counts["receipts_ignored"] += 1
            if verdict not in ("older", "unknown_epoch"):
                _LOG.warning("ignored a receipt: %s", verdict.replace("_", " "))
            return
        task = asyncio.get_running_loop().create_task(self._believe(receipt, claims))
        self._believing.add(task)
        task.add_done_callback(self._believed)

    def _believed(self, task: asyncio.Task[None]) -> None:
        self._believing.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _LOG.error("a receipt could not be checked: %s", task.exception(), exc_info=task.exception())

    async def _believe(self, receipt: Receipt, claims: list[Claim]) -> None:
        unproven: set[int] = set()
        for claim, digest in zip(claims, await self._digests(claims), strict=True):
            if digest is None:
                # Inside a range that is no longer here: nobody can tell, so it releases nothing.
                unproven.add(claim.seq)
            elif digest != claim.digest:
                self.counts["receipts_ignored"] += 1
                _LOG.error(
                    "ignored a receipt: it has another digest for batch %d of lane %s than this gateway",
                    claim.seq,
                    claim.lane.name.lower(),
                )
                return
        verdict, _ = self._delivery.claims(receipt)
        if verdict != "applied":
            return
        overtaken = self._delivery.overtaken
        is_new_collector = self._delivery.apply(receipt, unproven, now_us=self._monotonic())
        self.counts["resent"] += self._delivery.overtaken - overtaken
        self.counts["receipts"] += 1
        self.receipt_us = self._monotonic()
        for gone in self._in_memory.forget_delivered(self._delivery.is_delivered):
            self._delivery.released(gone.epoch_no, gone.lane, gone.first, gone.last)
        self._wake.set()
        if is_new_collector:
            _LOG.warning("the collector was restored or replaced: asking what it holds, sending again what it lacks")
            self.ask()
        for hash in receipt.wanted:
            await self._send_wanted(hash)

    async def _digests(self, claims: list[Claim]) -> list[bytes | None]:
        """Returns what this gateway knows as the digest of each batch that a receipt names."""
        found: dict[Claim, bytes | None] = {}
        for claim in claims:
            held = self._in_memory.get((claim.epoch_no, claim.lane, claim.seq))
            if held is not None:
                found[claim] = held.digest
        to_ask = [claim for claim in claims if claim not in found]
        if to_ask:
            try:
                answers = await self._spool.run(
                    lambda spool: [spool.digest(claim.epoch_no, claim.lane, claim.seq) for claim in to_ask]
                )
                found.update(zip(to_ask, answers, strict=True))
            except SpoolError as error:
                _LOG.warning("a receipt is believed in part: %s", error)
        return [found.get(claim) for claim in claims]

    async def _send_wanted(self, hash: bytes) -> None:
        envelope = self._catalogues.get(hash)
        if envelope is None:
            envelope = await self._spool.run(lambda spool: spool.catalogue(hash))
        if envelope is not None:
            self._publish(Channel.CATALOGUE, envelope)
