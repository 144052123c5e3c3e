"""Room in the spool: what goes, in which order, when the quota or the disk is full or time has passed.

    1  receipted history, oldest first          no record needed: the collector has signed for it
    2  the oldest data away from any alarm      each range with a signed loss record
    3  data within 60 s of an alarm batch       likewise
    4  alarm batches                            likewise, and only when even the reserve is used up

Data may fill the quota without the reserve.  Where the disk itself is full the spool keeps to what
it has until there is space again.  It is not known here how a record is sealed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Protocol

import asyncio

from contracts.batch import Lane
from edge_agent.delivery import Delivery
from edge_agent.errors import SpoolError
from edge_agent.spool import Spool
from edge_agent.spool_records import Candidate, EpochRow, Gone

_LOG = logging.getLogger(__name__)
#: room is made in steps of this part of the quota
_STEP = 0.02
#: data this close to an alarm batch goes last (us)
AROUND_ALARM_US = 60_000_000
_EVERYTHING = 1 << 40


class Store(Protocol):
    """What is asked of the spool's thread."""

    @property
    def used_bytes(self) -> int: ...

    def run[T](self, work: Callable[[Spool], T]) -> asyncio.Future[T]: ...
