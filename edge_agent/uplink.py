"""The uplink: brings sealed batches to the collector, in the right order, until receipted.

On every connect: status and ask first (the ask states all standing alarms in full), then the
catalogue, then alarms, then the newest data, then history oldest first within its share.
What is sealed while the link is up goes at once, alarms before data.  A batch waits for a
signed receipt whose digests fit; only then may the spool let it go.

A cap in bytes a second (``pacing.py``) keeps the same order: alarms do not ask, the newest data are next when
something may go.  What is held until it is thinned (``held.py``) waits too.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Mapping

from contracts.batch import Lane, Statement
from contracts.envelope import Type, open_envelope, seal
from contracts.errors import ContractError, TooLargeError
from contracts.keys import Signer, Verifier
from contracts.messages import Ask, Command, Status, Time
from contracts.receipt import Receipt
from contracts.topics import Channel, topic
from edge_agent.clock import AnchorClock
from edge_agent.delivery import BatchKey, Claim, Delivery
from edge_agent.errors import SpoolError
from edge_agent.held import Held
from edge_agent.link import Link
from edge_agent.logged_once import LoggedOnce
from edge_agent.pacing import ByteBudget
from edge_agent.seal import Chain, Sealed
from edge_agent.spool_records import StoredBatch
from edge_agent.spool_thread import SpoolThread
from edge_agent.unanswered import SAY_AFTER_US, Unanswered
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
        max_bytes_per_s: int = 0,
        is_metered: bool = False,
    ) -> None:
        """Takes what it needs; connects nothing.

        Args:
            memory: batches of a volatile epoch, shared with the keeper; what is receipted leaves it.
            max_bytes_per_s: a cap on what is sent; 0: none.
            is_metered: a catalogue that a collector has is not sent again on every connect; it asks for what it lacks.
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
        self._budget = ByteBudget(max_bytes_per_s)
        self._is_metered = is_metered
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
        self._unanswered = Unanswered()
        #: the newest data batch of this connection that could not go at once
        self._fresh: tuple[int, int] | None = None
        #: the catalogue that this collector has shown to have
        self._known: tuple[bytes, bytes] = (b"", b"")
        self._offered = b""
        #: what is held back until it is thinned
        self.held = Held()
        self.connected_us: int | None = None
        #: since when there is no link (monotonic us); None: there is one
        self.down_us: int | None = monotonic()
        self.receipt_us: int | None = None
        self.counts = {"sent": 0, "resent": 0, "receipts": 0, "receipts_ignored": 0, "connects": 0, "bytes_sent": 0}
        #: called on every connect, when ask and catalogue are on their way
        self.on_connected: Callable[[], object] = lambda: None
        #: called with a verified command
        self.on_command: Callable[[Command], None] = lambda command: None
        self._said = LoggedOnce(_LOG)
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
        self.connected_us, self.down_us = self._monotonic(), None
        self._delivery.forget_flight()
        self._unanswered.forget()
        self._live.clear()
        self._fresh = None
        _LOG.info("connected to the broker")
        self._said = LoggedOnce(_LOG)
        # Retained, or the last will of the session before would go on saying that nobody is here.
        birth = self._status(online=True, session=self._session)
        self._link.publish(topic(self._gateway, Channel.STATUS), birth, retain=True)
        self._wake.set()
        self.ask()
        if not self._is_metered or self._known != (self._delivery.collector[1], self._catalogue()[0]):
            self._send_catalogue()
        self.on_connected()

    def _down(self, reason: str) -> None:
        self.connected_us = None
        self.down_us = self._monotonic() if self.down_us is None else self.down_us
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
        self._offered = hash
        self._publish(Channel.CATALOGUE, envelope)

    def wake(self) -> None:
        """Has sending looked at again: something that was held may go."""
        self._wake.set()

    def _publish(self, channel: Channel, payload: bytes) -> bool:
        if not self._link.publish(topic(self._gateway, channel), payload):
            return False
        self.counts["bytes_sent"] += len(payload)
        self._budget.spend(len(payload), self._monotonic())
        return True

    # -- sending ---------------------------------------------------------------------

    def offer(self, epoch_no: int, sealed: Sealed) -> None:
        """Takes a batch just sealed and kept; sends it now when the link is up."""
        key = (epoch_no, sealed.lane, sealed.seq)
        if not self._link.is_up or self._delivery.is_in_flight(key):
            return
        is_data = sealed.lane is Lane.DATA
        if is_data and self.held.is_on and epoch_no in self._live:
            self._wake.set()
            return
        if not (is_data and self._budget.wait_s(self._monotonic())) and self._launch(
            key, sealed.envelope, is_backlog=False
        ):
            self._live.add(epoch_no)
            if len(self._delivery.in_flight()) == 1:
                self._wake.set()  # nobody has waited for a receipt so far: from now on somebody does
            return
        if is_data:
            self._fresh = (epoch_no, sealed.seq)
        self._wake.set()

    def catalogue_changed(self) -> None:
        """Sends the new catalogue before the first batch that uses it."""
        self._send_catalogue()

    def _launch(self, key: BatchKey, envelope: bytes, *, is_backlog: bool) -> bool:
        if not self._publish(_CHANNELS[key[1]], envelope):
            self._is_blocked = True
            return False
        self._delivery.launched(key, len(envelope), self._monotonic(), is_backlog=is_backlog)
        self._unanswered.sent(key, self._monotonic())
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
                self._said.back("history", "history goes on")
            except SpoolError as error:
                self._is_blocked = True
                self._said.gone("history", "history waits: %s", error, level=logging.WARNING)
            except Exception as error:
                # The outermost loop of sending: a defect must not end it unseen.
                self._is_blocked = True
                self._said.fault("send", error, "sending failed; it goes on in %.0f s", _TRY_AGAIN_S)
            if is_more:
                await asyncio.sleep(0)
                continue
            try:
                # Not wait_for: before Python 3.12 it swallows a cancellation that comes in the moment of the wake.
                async with asyncio.timeout(self._sleep_s()):
                    await self._wake.wait()
            except TimeoutError:
                self.counts["resent"] += self._delivery.expire(self._monotonic())
            self._say_unanswered()

    @property
    def unanswered_s(self) -> int | None:
        """How long the batch that waits longest has been sent without a receipt; None where none is on its way."""
        age_us = self._unanswered.age_us(self._monotonic())
        return None if age_us is None else age_us // 1_000_000

    def _say_unanswered(self) -> None:
        match self._unanswered.look(self._monotonic()):
            case "gone":
                _LOG.error(
                    "the broker has taken batches for %d s and there is no receipt for them: it may deny or drop them,"
                    " or no collector listens; they stay here and are sent again",
                    SAY_AFTER_US // 1_000_000,
                )
            case "back":
                _LOG.warning("batches are receipted again")

    def _sleep_s(self) -> float | None:
        """Returns after how long sending has something to do although nobody wakes it."""
        if not self._link.is_up:
            return None
        if self._is_blocked:
            return _TRY_AGAIN_S
        now = self._monotonic()
        due = [at for at in (self._delivery.next_expiry_us(), self._unanswered.due_us()) if at is not None]
        waits = [max(0.05, (min(due) - now) / 1e6 + 0.05)] if due else []
        capped_s = self._budget.wait_s(now)
        return min([*waits, capped_s + 0.005] if capped_s else waits, default=None)

    async def _pump_once(self) -> bool:
        """Sends one piece of what waits; returns whether there may be more to do now."""
        failed = None
        try:
            if await self._send_oldest(self._delivery.to_send(Lane.ALARM), Lane.ALARM, limit=_CHUNK_BYTES):
                return True
        except SpoolError as error:
            # Alarms that the store does not give hold up no readings that memory has.
            failed = error
        is_more = await self._pump_data()
        if failed is not None:
            raise failed
        return is_more

    async def _pump_data(self) -> bool:
        waiting = self._delivery.to_send(Lane.DATA)
        if not waiting or self._is_blocked or self._budget.wait_s(self._monotonic()):
            return False
        newest = self._newest(waiting)
        if newest is not None:
            epoch_no, seq = newest
            self._live.add(epoch_no)
            self._fresh = None
            if await self._send(epoch_no, Lane.DATA, [(seq, seq)], limit=_CHUNK_BYTES, is_backlog=False):
                return True
        room = self._delivery.room(self._share)
        allowed = self._budget.room(self._monotonic())
        limit = min(room, _CHUNK_BYTES) if allowed is None else min(room, _CHUNK_BYTES, allowed)
        if limit <= 0:
            return False
        return await self._send_oldest(self.held.of(waiting), Lane.DATA, limit=limit)

    async def _send_oldest(
        self, waiting: Iterable[tuple[int, list[tuple[int, int]]]], lane: Lane, *, limit: int
    ) -> bool:
        """Sends a piece of the oldest epoch that has one; a store that does not answer holds up nothing in memory."""
        is_backlog, failed = lane is Lane.DATA, None
        for epoch_no, ranges in waiting:
            if failed is not None:
                self._send_held(epoch_no, lane, ranges, limit=limit, is_backlog=is_backlog)
                continue
            try:
                if await self._send(epoch_no, lane, ranges, limit=limit, is_backlog=is_backlog):
                    return True
            except SpoolError as error:
                failed = error
        if failed is not None:
            raise failed
        return False

    def _newest(self, waiting: list[tuple[int, list[tuple[int, int]]]]) -> tuple[int, int] | None:
        """Returns the data batch that goes before history: the first of a connection, and what a cap held up."""
        running_no = self._delivery.number(self._chain().epoch)
        epoch_no, ranges = next((item for item in waiting if item[0] == running_no), waiting[-1])
        if epoch_no not in self._live:
            return epoch_no, ranges[-1][1]
        fresh = self._fresh
        if fresh is not None and fresh[0] == epoch_no and fresh[1] == ranges[-1][1] and not self.held.is_on:
            return fresh
        return None

    async def _send(
        self, epoch_no: int, lane: Lane, ranges: list[tuple[int, int]], *, limit: int, is_backlog: bool
    ) -> bool:
        """Sends up to ``limit`` bytes of one lane; returns whether anything went out."""
        sent = self._send_held(epoch_no, lane, ranges, limit=limit, is_backlog=is_backlog)
        if sent is not None:
            return sent
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

    def _send_held(
        self, epoch_no: int, lane: Lane, ranges: list[tuple[int, int]], *, limit: int, is_backlog: bool
    ) -> bool | None:
        """Sends up to ``limit`` bytes of what only memory has; returns whether anything went out, None: it has none."""
        held = self._held(epoch_no, lane, ranges, limit)
        for place, (key, envelope) in enumerate(held):
            if not self._launch(key, envelope, is_backlog=is_backlog):
                return place > 0
        return True if held else None

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
            elif topic_text == topic(self._gateway, Channel.COMMAND):
                opened = open_envelope(payload, Type.COMMAND, self._keys)
                self.on_command(Command.from_body(opened.body))
        except ContractError as error:
            self.counts["receipts_ignored"] += 1
            # One line for each topic and connection: who sends rubbish would else fill the card.
            self._said.gone(
                f"ignored {topic_text}", "ignored a message on %s: %s", topic_text, error, level=logging.WARNING
            )

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
        self._unanswered.receipted(self._delivery.is_settled, self._delivery.in_flight(), self.receipt_us)
        for gone in self._in_memory.forget_delivered(self._delivery.is_delivered):
            self._delivery.released(gone.epoch_no, gone.lane, gone.first, gone.last)
        self._wake.set()
        self._known = (b"", b"") if receipt.wanted else (receipt.collector_epoch, self._offered)
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
