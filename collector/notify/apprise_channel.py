"""One address through apprise, which knows DingTalk, WeCom, Feishu, mail, webhooks and many more.

Retries, threads and stored state of the library are off: when to try again is ours (``collector.notify.plan``).
An address holds secrets, and so do the library's log lines and errors: none of them goes further than this file.
"The other side took it" is as much as a service answers; that somebody reads it is what acknowledging is for.

Knowledge: apprise 1.13, ``apprise/apprise.py`` (retry and optional of a server), ``apprise/url.py`` (time-outs).
"""

from __future__ import annotations

import json
import logging
import re
import threading
from typing import Any

from collector.errors import SettingsError
from collector.notify.log import Answer

#: of the library; our severities are in the text
_TYPES = {"red": "failure", "orange": "warning"}
_SCHEME = re.compile(r"^([a-z0-9+.-]{2,20})://", re.IGNORECASE)


class _Ear(logging.Handler):
    """Hears what the library says of the attempt of this thread, and keeps of it only what is not secret."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._local = threading.local()

    def clear(self) -> None:
        self._local.detail = ""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        status = re.search(r"\berror=(\d{3})\b", text)
        if status is not None:
            self._local.detail = f"answered {status.group(1)}"
        elif "onnection error" in text:
            self._local.detail = "no connection, or no answer in time"

    def detail(self) -> str:
        found: str = getattr(self._local, "detail", "")
        return found or "not accepted"


_EAR = _Ear()

#: these answer 200 and put their refusal (a wrong token, a missing keyword, too many messages) into the text,
#: which the library does not read
_REFUSE_IN_TEXT = frozenset({"dingtalk", "feishu", "lark", "wecombot"})
_CODES = ("errcode", "code", "StatusCode")


class _Replies:
    """Reads the refusals in the replies that this thread gets."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._lock = threading.Lock()
        self._is_installed = False

    def install(self) -> None:
        """Looks over the shoulder of ``requests``, through which the library sends; the first time counts."""
        from requests import Session

        with self._lock:
            if self._is_installed:
                return
            self._is_installed = True
            original = Session.send

            def send(session: Any, request: Any, **more: Any) -> Any:
                reply = original(session, request, **more)
                self._local.refusal = refusal_of(reply.content)
                return reply

            Session.send = send  # type: ignore[method-assign, assignment]

    def clear(self) -> None:
        self._local.refusal = None

    def refusal(self) -> int | None:
        found: int | None = getattr(self._local, "refusal", None)
        return found


def refusal_of(content: bytes) -> int | None:
    """Returns the number of the refusal in a reply, None where there is none."""
    try:
        reply = json.loads(content[:65_536])
    except ValueError:
        return None
    if not isinstance(reply, dict):
        return None
    codes = [reply[name] for name in _CODES if isinstance(reply.get(name), int)]
    return next((code for code in codes if code != 0), None)


_REPLIES = _Replies()


def _quiet() -> None:
    """Keeps the library's log lines, and those of what it calls, away from ours."""
    logger = logging.getLogger("apprise")
    logger.propagate = False
    logger.setLevel(logging.WARNING)
    if _EAR not in logger.handlers:
        logger.addHandler(_EAR)
    for name in ("urllib3", "requests", "requests_oauthlib", "oauthlib"):
        logging.getLogger(name).setLevel(logging.ERROR)


class AppriseChannel:
    """Sends to one address; belongs to one thread at a time."""

    def __init__(self, url: str, place: str) -> None:
        """Takes the address; ``place`` names it in an error, such as ``notify.duty, address 2``.

        Raises:
            SettingsError: the library does not know such an address; which one is not said, it may hold a secret.
        """
        import apprise

        _quiet()
        self._refuses_in_text = scheme_of(url) in _REFUSE_IN_TEXT
        if self._refuses_in_text:
            _REPLIES.install()
        asset = apprise.AppriseAsset(async_mode=False, app_id="Qianshao", app_desc="Qianshao")
        server: Any = None
        try:
            server = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
        except Exception as error:  # a plug-in may raise anything, and its text may hold the address
            raise SettingsError(f"{place}: apprise refuses this address ({type(error).__name__})") from None
        if server is None:
            raise SettingsError(f"{place}: apprise knows no such address; dingtalk://, wecombot://, feishu://,"
                                " mailto:// and json:// are some that it knows")  # fmt: skip
        server.retry, server.optional = 0, False
        self._apprise = apprise.Apprise(asset=asset)
        self._apprise.add(server)

    def send(self, title: str, body: str, severity: str) -> Answer:
        """Sends once and waits for the answer, some 8 s at most for an address of the web; raises nothing.

        Args:
            title: one line.
            body: plain text.
            severity: chooses the colour, where the other side has some.
        """
        import apprise

        _EAR.clear()
        _REPLIES.clear()
        try:
            is_taken = self._apprise.notify(
                body=body,
                title=title,
                notify_type=apprise.NotifyType(_TYPES.get(severity, "info")),
                body_format=apprise.NotifyFormat.TEXT,
            )
        except Exception as error:  # a plug-in may raise anything, and its text may hold the address
            return Answer(outcome="failed", detail=f"the library failed ({type(error).__name__})")
        refusal = _REPLIES.refusal() if self._refuses_in_text else None
        if is_taken and refusal is not None:
            return Answer(outcome="failed", detail=f"refused with code {refusal}")
        return Answer(outcome="sent") if is_taken else Answer(outcome="failed", detail=_EAR.detail())


def scheme_of(url: str) -> str:
    """Returns the part of an address that is no secret: ``dingtalk`` of ``dingtalk://token``."""
    found = _SCHEME.match(url)
    return found.group(1).lower() if found else "?"
