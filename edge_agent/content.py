"""What goes into one data batch.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from contracts.batch import HealthRecord, Note, Origin, Statement
from contracts.confirmed import Confirmed
from contracts.inhibit import Inhibit
from contracts.upkeep import Upkeep
from contracts.visit import Visit
from contracts.waveform import Waveform


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What goes into one data batch."""

    #: the monotonic us that the blocks' times are relative to
    sealed_us: int
    catalogue: bytes = b""
    blocks: Sequence[Any] = ()
    readings: int = 0
    first_us: int | None = None
    last_us: int | None = None
    statement: Statement | None = None
    health: Sequence[HealthRecord] = field(default=())
    notes: Sequence[Note] = field(default=())
    waveforms: Sequence[Waveform] = field(default=())
    inhibits: Sequence[Inhibit] = field(default=())
    visits: Sequence[Visit] = field(default=())
    upkeep: Sequence[Upkeep] = field(default=())
    confirmed: Sequence[Confirmed] = field(default=())
    #: None: that of the chain
    origin: Origin | None = None
