"""What the API answers about visits: the views of ``collector.visit_views`` as JSON, field for field."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator


class _Model(BaseModel):
    model_config = ConfigDict(from_attributes=True)


def _words(pair: Any) -> Any:
    """Returns (en, zh) as an object; leaves anything else to pydantic."""
    return {"en": pair[0], "zh": pair[1]} if isinstance(pair, tuple) else pair


class Words(_Model):
    """One thing said in both languages."""

    en: str
    zh: str


class LastVisit(_Model):
    """The newest visit of a point."""

    job: str
    result: str
    by: str
    recorded_us: int


class Due(_Model):
    """What a gateway states to be due at a point."""

    job: str
    state: str = Field(description="due or overdue")
    due: str = Field(description="the day, YYYY-MM-DD of UTC; empty where it is not known")


class Visit(_Model):
    """One bump test or calibration as it was signed; a number is null where nothing good was read."""

    gateway: str
    id: str
    point: str
    en: str
    zh: str
    job: str = Field(description="bump or calibration")
    result: str = Field(description="passed, failed, abandoned (the person left) or interrupted (the agent ended)")
    reason: str = Field(description="why it did not pass")
    by: str
    recorded_us: int = Field(description="when the record was sealed; the order of the list")
    began_us: int | None = Field(description="null where the clock of its boot is not known")
    ended_us: int | None
    unit: str = Field(description="UCUM")
    unit_en: str
    unit_zh: str
    zero: float | None = Field(description="before the gas; of a calibration: the reading before the work")
    applied: float | None = Field(description="the gas, as the person typed it")
    peak: float | None = Field(description="with the gas; of a calibration: the reading after the work")
    t90_s: float | None
    t90_limit_s: float | None
    return_s: float | None
    return_limit_s: float | None
    serial: str
    note: str


class VisitPage(_Model):
    """One page of visits, newest first."""

    visits: list[Visit]
    next: str | None = Field(description="for ``after`` of the next page; null at the last one")


class Upkeep(_Model):
    """What a gateway stated last of one point and job."""

    gateway: str
    point: str
    job: str
    last: str = Field(description="day, YYYY-MM-DD of UTC; empty: never")
    due: str = Field(description="day; empty where nothing is due")
    state: str = Field(description="current, due, overdue or never")
    street: str
    stated_us: int
    is_stated: bool = Field(description="false where newer statements of the gateway leave it out")


class Errand(_Model):
    """One reason to go somewhere, with its probable cause and what to bring."""

    street: str = Field(description="empty where nobody wrote it; it stands under the gateway's name then")
    gateway: str
    gateway_en: str
    gateway_zh: str
    device: str
    point: str = Field(description="empty where it is about a device or a gateway as a whole")
    en: str
    zh: str
    finding: str
    rank: int = Field(description="lower goes first")
    what: Words
    cause: Words = Field(description="probable")
    bring: list[Words]
    due: str = Field(description="day; empty where it is about something else")
    detail: str = Field(description="why a visit failed, as it was signed")
    based_us: int | None = Field(description="of the sample, statement, visit or word that this is based on")

    @field_validator("what", "cause", mode="before")
    @classmethod
    def _said(cls, pair: Any) -> Any:
        return _words(pair)

    @field_validator("bring", mode="before")
    @classmethod
    def _brought(cls, pairs: Any) -> Any:
        return [_words(pair) for pair in pairs]
