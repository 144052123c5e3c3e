"""Where a request came from, in words for the record.  Not an identity: nobody logs in yet."""

from __future__ import annotations

from fastapi import Request


def caller(request: Request, kind: str) -> str:
    """Returns where a request came from: ``api 127.0.0.1``."""
    return f"{kind} {request.client.host if request.client else 'unknown'}"
