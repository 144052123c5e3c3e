"""One module per command of ``edge-agent``; each imports what it needs when it runs."""

from __future__ import annotations
