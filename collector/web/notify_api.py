"""Notification in the API: the rules, what was tried, and ``POST /api/v1/notify/test``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Protocol

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import BaseModel, Field

from collector.views import NoticeView, NotifyRuleView
from collector.web import models
from collector.web.api import PROBLEMS
from collector.web.caller import caller


class Notifying(Protocol):
    """Tells people outside the room.  Safe to call from any thread."""

    def rules(self) -> Sequence[NotifyRuleView]:
        """Returns the rules, without a secret of their addresses."""
        ...

    def problem(self) -> str:
        """Returns why the newest rules of the settings file are not taken; empty where they are."""
        ...

    def recent(self, limit: int) -> Sequence[NoticeView]:
        """Returns the newest attempts, newest first."""
        ...

    def test(self, name: str, by: str) -> Sequence[NoticeView] | None:
        """Sends a test to every address of a rule; returns what was answered in time, None without such a rule."""
        ...


class NoNotifying:
    """Nobody is told."""

    def rules(self) -> Sequence[NotifyRuleView]:
        """Returns none."""
        return ()

    def problem(self) -> str:
        """Has none."""
        return ""

    def recent(self, limit: int) -> Sequence[NoticeView]:
        """Returns none."""
        return ()

    def test(self, name: str, by: str) -> Sequence[NoticeView] | None:
        """Knows no rule."""
        return None


class NotifyTest(BaseModel):
    """Which rule to test."""

    name: str = Field(max_length=32, description="name of the rule in settings.toml")


def notify_router(notifying: Notifying) -> APIRouter:
    """Returns the routes."""
    router = APIRouter(prefix="/api/v1", tags=["v1"], responses=PROBLEMS)

    @router.get("/notify/rules")
    def rules() -> list[models.NotifyRule]:
        """Who is told of which alarms; addresses by their scheme only."""
        return [models.NotifyRule.model_validate(view) for view in notifying.rules()]

    @router.get("/notices")
    def notices(limit: Annotated[int, Query(ge=1, le=10_000)] = 100) -> list[models.Notice]:
        """Attempts to tell somebody, newest first, each with its answer."""
        return [models.Notice.model_validate(view) for view in notifying.recent(limit)]

    @router.post(
        "/notify/test",
        responses={
            403: {"description": "the request comes from a page of another site"},
            404: {"model": models.Problem, "description": "no such rule"},
        },
    )
    def test(asked: NotifyTest, request: Request) -> list[models.Notice]:
        """Send a test to every address of a rule; an address that has not answered within 20 s is left out."""
        found = notifying.test(asked.name, caller(request, "api"))
        if found is None:
            raise HTTPException(404, "no such rule")
        return [models.Notice.model_validate(view) for view in found]

    return router
