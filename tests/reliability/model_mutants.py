"""Mutants of the real code that the model must find, and one plain history for each that shows it.

A mutant is a patch for the length of a test; the program itself has no switch for any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest import mock

from collector.receipts import sign_receipt
from collector.store import Store
from contracts.receipt import Receipt
from edge_agent import own_epoch
from edge_agent.delivery import Claim, Delivery
from edge_agent.keeper import Keeper
from edge_agent.seal import Sealed
from edge_agent.uplink import Uplink
from tests.reliability.model_world import World
from tests.reliability.virtual_collector import SIGNER, VirtualCollector

Patches = Callable[[ExitStack], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One wrong program, and steps under which it goes wrong."""

    name: str
    patch: Patches
    steps: Callable[[World], None]


@contextmanager
def mutated(mutant: Mutant) -> Iterator[None]:
    """Runs with the mutant in the place of the real code."""
    with ExitStack() as stack:
        mutant.patch(stack)
        yield


def _replace(stack: ExitStack, owner: Any, name: str, other: Any) -> None:
    stack.enter_context(mock.patch.object(owner, name, other))


# -- acknowledge before commit ---------------------------------------------------------


def _answer_early(stack: ExitStack) -> None:
    class Collector(VirtualCollector):
        def start(self) -> None:
            if self.is_up:
                return
            super().start()
            take = self.store._commit

            def commit(arrivals: Any) -> Any:
                result = take(arrivals)
                for receipt in result.receipts:
                    self.writer._publish(*sign_receipt(receipt, SIGNER))
                return result

            self.store._commit = commit  # type: ignore[method-assign]

    _replace(stack, World, "collector_class", Collector)


def _killed_before_the_commit(world: World) -> None:
    world.connect()
    world.exchange()
    world.produce(3)
    world.deliver_up(works=False)
    world.crash_collector("before")
    world.deliver_down()


# -- delivered means accepted by the broker ---------------------------------------------


def _believe_the_broker(stack: ExitStack) -> None:
    launch = Uplink._launch

    def launched(self: Uplink, key: Any, envelope: bytes, *, is_backlog: bool) -> bool:
        done = launch(self, key, envelope, is_backlog=is_backlog)
        if done:
            self._delivery._deliver((key[0], key[1]), [(key[2], key[2])])
        return done

    _replace(stack, Uplink, "_launch", launched)


def _broker_forgets(world: World) -> None:
    world.connect()
    world.produce(3)
    world.broker.forget()


# -- released without comparing digests -------------------------------------------------


def _compare_nothing(stack: ExitStack) -> None:
    async def digests(self: Uplink, claims: list[Claim]) -> list[bytes | None]:
        return [claim.digest for claim in claims]

    claims = Delivery.claims

    def no_head(self: Delivery, receipt: Receipt) -> Any:
        verdict, found = claims(self, receipt)
        return ("applied" if verdict == "beyond_head" else verdict), found

    _replace(stack, Uplink, "_digests", digests)
    _replace(stack, Delivery, "claims", no_head)


def _false_digests(world: World) -> None:
    world.connect()
    world.produce(3)
    world.broker.forget()
    world.lie(has_key=True)


# -- numbers begin again at every start --------------------------------------------------


def _same_epoch(stack: ExitStack) -> None:
    # Every start has the same epoch; everything else that is random stays so.
    _replace(stack, own_epoch, "os", SimpleNamespace(urandom=lambda size: b"\x11" * size))


def _starts_again(world: World) -> None:
    world.connect()
    world.produce(2)
    world.exchange()
    world.crash()
    world.start()
    world.produce(2)


# -- the same batch twice -----------------------------------------------------------------


def _take_everything(stack: ExitStack) -> None:
    class Collector(VirtualCollector):
        def start(self) -> None:
            if not self.is_up:
                super().start()
                self._without_unique_key()

        def _without_unique_key(self) -> None:
            db = self.store._db
            (sql,) = db.execute("SELECT sql FROM sqlite_master WHERE name='evidence'").fetchone()
            if "UNIQUE" not in sql:
                return
            start = sql.index("UNIQUE")
            cut = sql.rindex(",", 0, start)
            if "CONSTRAINT" in sql[cut:start]:
                cut = sql.rindex(",", 0, sql.index("CONSTRAINT", cut))
            end = sql.index(")", start) + 1
            db.execute("ALTER TABLE evidence RENAME TO old")
            db.execute(sql[:cut] + sql[end:])
            db.execute("INSERT INTO evidence SELECT * FROM old")
            db.execute("DROP TABLE old")

    _replace(stack, World, "collector_class", Collector)
    _replace(stack, Store, "_holds", lambda self, epoch_no, header, digest: False)


def _brought_twice(world: World) -> None:
    world.connect()
    world.exchange()
    world.produce(2)
    for place in range(4):
        world.broker.double(world.broker.up, 2 * place)


# -- a receipt of a collector that is no more ----------------------------------------------


def _believe_old_receipts(stack: ExitStack) -> None:
    def is_older(self: Delivery, receipt: Receipt, key: Any) -> bool:
        return receipt.collector_epoch == self.collector[1] and receipt.serial <= self._serials.get(key, 0)

    _replace(stack, Delivery, "_is_older", is_older)


def _restored(world: World) -> None:
    world.back_up()
    world.connect()
    world.produce(3)
    world.exchange()
    old = len(world.broker.old_down)
    world.restore()
    world.disconnect()
    world.connect()
    world.deliver_up()
    world.deliver_down()
    world.broker.forget()
    for place in range(old):
        world.bring_again(place, up=False)
    world.deliver_down()
    world.disconnect()
    world.wait(2 * 86_400)
    world.tend()


# -- sent before it is durable -------------------------------------------------------------


def _offer_early(stack: ExitStack) -> None:
    keep = Keeper._keep

    def kept(self: Keeper, sealed: Sealed, events: Any, **more: Any) -> None:
        self._offer(self.epoch_no, sealed)
        keep(self, sealed, events, **more)

    _replace(stack, Keeper, "_keep", kept)


def _killed_while_it_commits(world: World) -> None:
    world.connect()
    world.exchange()
    world.disk.delay_us = 150_000
    world.sample(2, 250)
    world.exchange()
    world.crash()


MUTANTS = (
    Mutant(name="acknowledge-before-commit", patch=_answer_early, steps=_killed_before_the_commit),
    Mutant(name="believe-the-broker", patch=_believe_the_broker, steps=_broker_forgets),
    Mutant(name="no-digest-match", patch=_compare_nothing, steps=_false_digests),
    Mutant(name="sequence-reset", patch=_same_epoch, steps=_starts_again),
    Mutant(name="no-unique-key", patch=_take_everything, steps=_brought_twice),
    Mutant(name="old-receipts", patch=_believe_old_receipts, steps=_restored),
    Mutant(name="send-before-commit", patch=_offer_early, steps=_killed_while_it_commits),
)
