"""What a site file says about rules: changed limits, pairs of points, and who confirmed the limits.

Part of the site file's form (``edge_agent.config``); what the words mean is ``edge_agent.site_rules``
and ``edge_agent.site_confirmations``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Number = Annotated[float, Field(allow_inf_nan=False)]
Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$", description="a date like 2026-11-30")]
_Words = Annotated[str, Field(min_length=1, max_length=80)]


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class LimitChange(_Table):
    """What this site changes of one limit of a rule set; left out: as the rule set says."""

    value: Number | None = None
    unit: Annotated[str, Field(description="UCUM unit of the numbers here; default: the rule's own")] | None = None
    deadband: Number | None = None
    on_delay_s: Number | None = None
    off_delay_s: Number | None = None
    on_samples: int | None = None
    off_samples: int | None = None
    setpoint: Annotated[float, Field(allow_inf_nan=False, description="of a deviation")] | None = None
    window_s: Annotated[float, Field(allow_inf_nan=False, description="of a rate or a trend")] | None = None
    min_value: Annotated[float, Field(allow_inf_nan=False, description="of a rate")] | None = None
    tolerance: Annotated[float, Field(allow_inf_nan=False, description="of a flat line")] | None = None
    threshold: Annotated[float, Field(allow_inf_nan=False, description="of a trend")] | None = None
    basis: str | None = None
    set_by: str | None = None
    set_at: str | None = None


class Pair(_Table):
    """An alarm of this point that a second point of this gateway confirms."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,31}$", description="a name like two_heads")]
    en: _Words
    zh: _Words
    when: Annotated[str, Field(description="name of a limit of this point, or PACK/LIMIT")]
    point: Annotated[str, Field(description="key of the other point, device/quantity")]
    rule: Annotated[str, Field(description="name of a limit of the other point, or PACK/LIMIT")]
    within_s: Annotated[float, Field(ge=0, le=86_400, description="how long ago the other alarm may have ended")]
    severity: Literal["red", "orange", "yellow", "blue", "info"]
    scheme: Annotated[str, Field(min_length=1, max_length=80, description="whose grade that is")] = "two sensors"
    basis: Annotated[str, Field(min_length=1, max_length=500, description="why these two belong together")]
    off_delay_s: Annotated[float, Field(ge=0, le=604_800)] = 0.0
    latch: bool = False
    set_by: str = ""
    set_at: str = ""


class Confirmed(_Table):
    """Limits that a named person confirmed in writing; all others are on trial."""

    by: _Words
    at: Day
    document: Annotated[str, Field(min_length=1, description="file with the confirmation; its SHA-256 is kept")]
    points: Annotated[list[str], Field(min_length=1, description="keys, or patterns such as well-*/ch4 or *")]
