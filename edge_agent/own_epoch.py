"""The epoch of this life of the agent: the store is asked, and a keeper begins with a chain of its own.

What is learnt from what lay there is in ``open_store.py``; how the file is opened, and put aside where it is
damaged, in ``spool_thread.py``.  A store that does not answer in time is not waited for: the epoch begins
in memory, and what lies there is learnt when it answers.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable

from contracts.batch import Anchor, Genesis, Origin
from contracts.keys import Signer
from edge_agent import __version__
from edge_agent.clock import monotonic_us
from edge_agent.delivery import Delivery
from edge_agent.errors import SpoolError
from edge_agent.judge import Judge
from edge_agent.keeper import Keeper
from edge_agent.open_store import Learnt, learn, learn_late
from edge_agent.plan import SpoolPlan
from edge_agent.seal import Boot, Chain
from edge_agent.sealer import Sealer
from edge_agent.spool_records import EpochRow, Opened, unasked_epoch_no
from edge_agent.spool_thread import SpoolThread

_LOG = logging.getLogger(__name__)
#: alarms wait no longer than this for a spool that does not open
_OPEN_LIMIT_S = 2.0


class OwnEpoch:
    """Begins it, and knows the agent's running time, which the store remembers over all starts."""

    def __init__(
        self,
        *,
        gateway: str,
        signer: Signer,
        boot: Boot,
        started_us: int,
        kept: SpoolPlan,
        spool: SpoolThread,
        delivery: Delivery,
        judge: Judge,
        sealer: Sealer,
        anchor: Callable[[], Anchor],
        learnt_late: Callable[[], None],
    ) -> None:
        """Takes what it needs; asks nothing yet.

        Args:
            started_us: when this life of the agent began (monotonic us).
            kept: how much the store may keep.
            sealer: is given the keeper.
            anchor: what is known of the wall clock now.
            learnt_late: told when a store that was not waited for has answered.
        """
        self._gateway, self._signer, self._boot = gateway, signer, boot
        self._started_us = started_us
        self._kept = kept
        self._spool, self._delivery, self._judge, self._sealer = spool, delivery, judge, sealer
        self._anchor = anchor
        self._learnt_late = learnt_late
        self._uptime_before = 0

    def uptime_s(self) -> int:
        """Returns how long this gateway's agent has run over all its starts."""
        return self._uptime_before + (monotonic_us() - self._started_us) // 1_000_000

    async def begin(self) -> None:
        """Asks the store and gives the sealer its keeper, whatever the store answers."""
        opened: Opened | None = None
        try:
            opened = await asyncio.wait_for(asyncio.shield(self._spool.open()), _OPEN_LIMIT_S)
        except SpoolError as error:
            _LOG.error("%s; readings are kept in memory until it can", error)
        except TimeoutError:
            _LOG.error("the spool did not open within %.0f s; readings are kept in memory until it does", _OPEN_LIMIT_S)
        if opened is not None:
            learnt = learn(opened, delivery=self._delivery, judge=self._judge, boot=self._boot)
            self._uptime_before = learnt.uptime_s
            for sentence in filter(None, (opened.put_aside, opened.remark)):
                self._sealer.note("spool", sentence)
        else:
            learnt = Learnt(number=unasked_epoch_no(), parent=None, reason="store_unusable", uptime_s=0)
            self._judge.begin()
        self._sealer.keeper = keeper = self._make_keeper(learnt)
        keeper.on_new_file = self._sealer.store_is_new
        if opened is None:
            keeper.on_first_answer = self._learn_late
        self._sealer.keep_catalogue()

    def _make_keeper(self, learnt: Learnt) -> Keeper:
        genesis = Genesis(version=__version__, reason=learnt.reason, parent=learnt.parent)
        chain = self._new_chain(os.urandom(8), genesis, Origin.LIVE)
        row = EpochRow(
            no=learnt.number,
            epoch=chain.epoch,
            reason=learnt.reason,
            boot_id=self._boot.boot_id,
            boot_counter=self._boot.counter,
            started_us=self._started_us,
            started_uptime_s=self.uptime_s(),
        )
        self._delivery.add_epoch(row)
        return Keeper(
            spool=self._spool,
            delivery=self._delivery,
            chain=chain,
            row=row,
            new_chain=self._new_chain,
            monotonic=monotonic_us,
            alarm_state=self._judge.state_bytes,
            uptime_s=self.uptime_s,
            quota_bytes=self._kept.quota_bytes,
            reserve_bytes=self._kept.reserve_bytes,
            retention_s=self._kept.retention_days * 86_400,
        )

    def _learn_late(self, opened: Opened) -> None:
        self._uptime_before = learn_late(opened, delivery=self._delivery, judge=self._judge, boot=self._boot)
        self._learnt_late()

    def _new_chain(self, epoch: bytes, genesis: Genesis, origin: Origin) -> Chain:
        return Chain(
            gateway=self._gateway,
            signer=self._signer,
            boot=self._boot,
            epoch=epoch,
            genesis=genesis,
            anchor=self._anchor,
            origin=origin,
        )
