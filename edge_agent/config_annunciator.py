"""The site file's ``[annunciator]``: a beacon or sounder in the room, off by default.  Part of ``config``; pydantic."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

#: ``device/output``: both are ids of the same form
Output = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?/[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$",
        description="DEVICE/OUTPUT, such as relay-1/relay-3: a device of this file and an output of its profile",
    ),
]
Severity = Literal["red", "orange", "yellow", "blue", "info"]


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Alive(_Table):
    """An output that the board itself lets drop when the agent judges no more."""

    output: Output
    hold_s: Annotated[
        float,
        Field(
            ge=3, le=3600, allow_inf_nan=False, description="it drops so long after the last renewal; of a board's "
            "watchdog: what the board is set to"
        ),
    ] = 30.0  # fmt: skip


class Annunciator(_Table):
    """Beacon and sounder in the room; separate from every certified chain."""

    beacon: Annotated[list[Output], Field(max_length=16, description="on while an alarm stands")] = []
    sounder: Annotated[list[Output], Field(max_length=16, description="as beacon, until a person silences it")] = []
    alive: Annotated[Alive | None, Field(description="shows that the agent polls and judges")] = None
    severities: Annotated[list[Severity], Field(min_length=1, description="of the alarms that drive it")] = [
        "red",
        "orange",
    ]
    proof_test_days: (
        Annotated[int, Field(ge=1, le=3660, description="days from one proof test to the next; default: none is due")]
        | None
    ) = None
