"""The C library of this process, opened once.

Each ``ctypes.CDLL`` makes a type of its own, which nobody but the collector of cycles takes away again: in a daemon
that opens one every few seconds they pile up between its rounds.
"""

from __future__ import annotations

import ctypes
from functools import cache


@cache
def c_library() -> ctypes.CDLL:
    """Returns the handle; raises OSError where the process cannot open itself."""
    return ctypes.CDLL(None, use_errno=True)
