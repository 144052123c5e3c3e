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
from collections.abc import Awaitable, Callable, Mapping

from contracts.batch import Lane, Statement
from contracts.envelope import Type, open_envelope, seal
from contracts.errors import ContractError
from contracts.keys import Signer, Verifier
from contracts.messages import Ask, Status, Time
from contracts.receipt import Receipt
from contracts.topics import Channel, topic
from edge_agent.clock import AnchorClock
from edge_agent.delivery import BatchKey, Claim, Delivery
from edge_agent.errors import SpoolError
from edge_agent.link import Link
from edge_agent.seal import Chain, Sealed
from edge_agent.spool_thread import SpoolThread

_LOG = logging.getLogger(__name__)
_CHANNELS = {Lane.ALARM: Channel.ALARM, Lane.DATA: Channel.DATA}
#: history is read from the spool in pieces of this size
_CHUNK_BYTES = 256 * 1024


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
        memory: dict[BatchKey, Sealed],
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
        self._sent_catalogues: set[bytes] = set()
        self._live_from: dict[int, int] = {}
        self.connected_us: int | None = None
        self.receipt_us: int | None = None
        self.counts = {"sent": 0, "resent": 0, "receipts": 0, "receipts_ignored": 0, "connects": 0, "bytes_sent": 0}
        self.on_reask: Callable[[], Awaitable[None]] | None = None
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
        self._sent_catalogues.clear()
        self._live_from.clear()
        _LOG.info("connected to the broker")
        self._link.publish(topic(self._gateway, Channel.STATUS), self._status(online=True, session=self._session))
        self.ask()
        hash, envelope = self._catalogue()
        self._send_catalogue(hash, envelope)
        self._wake.set()

    def _down(self, reason: str) -> None:
        self.connected_us = None
        _LOG.warning("the link is down: %s", reason)

    def ask(self) -> None:
        """States where this gateway stands and asks the collector for the same."""
        chain = self._chain()
        self._nonce = os.urandom(16)
        self._asked_us = self._monotonic()
        ask = Ask(
            gateway=self._gateway,
            epoch=chain.epoch,
            boot_id=chain.boot.boot_id,
            boot_counter=chain.boot.counter,
            nonce=self._nonce,
            anchor=self._clock.anchor(),
            alarm=chain.head(Lane.ALARM),
            data=chain.head(Lane.DATA),
            unreceipted=self._delivery.unreceipted(),
            statement=self._statement(),
            version=self._version,
        )
        self._publish(Channel.ASK, seal(Type.ASK, ask.to_body(), self._signer)[0])

    def _send_catalogue(self, hash: bytes, envelope: bytes) -> None:
        if self._publish(Channel.CATALOGUE, envelope):
            self._sent_catalogues.add(hash)

    def _publish(self, channel: Channel, payload: bytes) -> bool:
        if not self._link.publish(topic(self._gateway, channel), payload):
            return False
        self.counts["bytes_sent"] += len(payload)
        return True

    # -- sending ---------------------------------------------------------------------

    def offer(self, epoch_no: int, sealed: Sealed) -> None:
        """Takes a batch just sealed and kept; sends it now when the link is up."""
        key = (epoch_no, sealed.lane, sealed.seq)
        if self._link.is_up:
            if sealed.lane is Lane.DATA:
                self._live_from.setdefault(epoch_no, sealed.seq)
            self._launch(key, sealed.envelope, is_backlog=False)

    def catalogue_changed(self) -> None:
        """Sends the new catalogue before the first batch that uses it."""
        if self._link.is_up:
            hash, envelope = self._catalogue()
            self._send_catalogue(hash, envelope)

    def _launch(self, key: BatchKey, envelope: bytes, *, is_backlog: bool) -> bool:
        if not self._publish(_CHANNELS[key[1]], envelope):
            return False
        self._delivery.launched(key, len(envelope), self._monotonic(), is_backlog=is_backlog)
        self.counts["sent"] += 1
        return True

    async def _run(self) -> None:
        while True:
            if self._link.is_up:
                try:
                    is_more = await self._pump_once()
                except SpoolError as error:
                    _LOG.warning("history waits: %s", error)
                    is_more = False
                if is_more:
                    await asyncio.sleep(0)
                    continue
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), self._sleep_s())
            except TimeoutError:
                self.counts["resent"] += self._delivery.expire(self._monotonic())

    def _sleep_s(self) -> float | None:
        oldest = self._delivery.next_expiry_us()
        if oldest is None or not self._link.is_up:
            return None
        return max(0.05, (oldest + 10_000_000 - self._monotonic()) / 1e6 + 0.05)

    async def _pump_once(self) -> bool:
        """Sends one piece of what waits; returns whether there may be more to do now."""
        for epoch_no, ranges in self._delivery.to_send(Lane.ALARM):
            if await self._send(epoch_no, Lane.ALARM, ranges, limit=_CHUNK_BYTES, is_backlog=False):
                return True
        waiting = self._delivery.to_send(Lane.DATA)
        if not waiting:
            return False
        newest_no, newest = next(
            (item for item in waiting if item[0] == self._delivery.number(self._chain().epoch)), waiting[-1]
        )
        if newest_no not in self._live_from:
            last = newest[-1][1]
            self._live_from[newest_no] = last
            return await self._send(newest_no, Lane.DATA, [(last, last)], limit=_CHUNK_BYTES, is_backlog=False)
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
        sent = False
        for first, last in ranges:
            for seq in range(first, last + 1):
                kept = self._in_memory.get((epoch_no, lane, seq))
                if kept is None:
                    break
                sent |= self._launch((epoch_no, lane, seq), kept.envelope, is_backlog=is_backlog)
        if sent:
            return True
        batches = await self._spool.run(
            lambda spool: spool.read(epoch_no, lane, ranges, limit_bytes=limit, limit_rows=64)
        )
        for batch in batches:
            key = (epoch_no, lane, batch.seq)
            if self._delivery.is_delivered(key) or self._delivery.is_in_flight(key):
                continue
            if not self._launch(key, batch.envelope, is_backlog=is_backlog):
                return False
            sent = True
        return sent

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
        task.add_done_callback(_report)

    async def _believe(self, receipt: Receipt, claims: list[Claim]) -> None:
        memory = {(key, sealed.digest) for key, sealed in self._in_memory.items()}
        to_check = [claim for claim in claims if ((claim.epoch_no, claim.lane, claim.seq), claim.digest) not in memory]
        if to_check:
            found = await self._spool.run(
                lambda spool: [spool.digest(claim.epoch_no, claim.lane, claim.seq) for claim in to_check]
            )
            for claim, digest in zip(to_check, found, strict=True):
                if digest is not None and digest != claim.digest:
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
        is_new_collector = self._delivery.apply(receipt)
        self.counts["receipts"] += 1
        self.receipt_us = self._monotonic()
        for key in [key for key in self._in_memory if self._delivery.is_delivered(key)]:
            del self._in_memory[key]
        for hash in receipt.wanted:
            envelope = await self._spool.run(lambda spool, hash=hash: spool.catalogue(hash))  # type: ignore[misc]
            if envelope is not None:
                self._send_catalogue(hash, envelope)
        if is_new_collector:
            _LOG.warning("the collector was restored or replaced: asking what it holds, sending again what it lacks")
            self.ask()
        self._wake.set()


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _LOG.error("a receipt could not be checked: %s", task.exception())
