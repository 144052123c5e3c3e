"""The page, the API and the live stream over what ``collector.views`` describes."""

from __future__ import annotations

from collector.web.app import create_app
from collector.web.ports import Actions, Changes, Info

__all__ = ["create_app", "Actions", "Changes", "Info"]
