"""``POST /api/v1/gateways/{id}/watch``: somebody looks at a gateway and wants its data live."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, Field

from collector.web.caller import caller
from collector.web.models import Problem


class Watcher(Protocol):
    """Asks gateways for live data."""

    def watch(self, gateway: str, by: str) -> int:
        """Returns for how many seconds from now they are asked for."""


class WatchAnswer(BaseModel):
    """What was asked of the gateway; whether it hears is seen in its data."""

    gateway: str
    seconds: int = Field(description="for how long from now live data are asked for")


def watch_router(watcher: Watcher, is_known: Callable[[str], bool]) -> APIRouter:
    """Returns the route.

    Args:
        watcher: asks the gateway.
        is_known: whether a gateway of this id is registered and was heard.
    """
    router = APIRouter(prefix="/api/v1", tags=["v1"])

    @router.post(
        "/gateways/{id}/watch",
        responses={
            403: {"description": "the request comes from a page of another site"},
            404: {"model": Problem, "description": "no such gateway"},
        },
    )
    def watch(id: str, request: Request) -> WatchAnswer:
        """Ask a gateway for ten minutes of live data; on a LAN they are live anyway."""
        if not is_known(id):
            raise HTTPException(404, "no such gateway")
        return WatchAnswer(gateway=id, seconds=watcher.watch(id, caller(request, "api")))

    return router
