"""A wall clock that a test can set for one process, by the shim in ``wall_clock_shim/``; needs a C compiler.

libfaketime moves the monotonic clock too, which is what these tests must not do.
"""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest

_SOURCE = Path(__file__).parent / "wall_clock_shim" / "wall_clock.c"


def build_shim(folder: Path) -> Path:
    """Compiles the shim; without a compiler the test is skipped, or fails when ``CI=true``."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        reason = "there is no C compiler (Debian package gcc, and libc6-dev)"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}; in CI nothing is skipped")
        pytest.skip(reason)
    made = folder / "wall_clock.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", str(made), str(_SOURCE)], check=True)
    return made


class WallClock:
    """The wall clock of whatever runs with :attr:`environment`."""

    def __init__(self, folder: Path) -> None:
        file = folder / "wall_clock"
        file.write_bytes(bytes(16))
        with file.open("r+b") as opened:
            self._page = mmap.mmap(opened.fileno(), 16)
        self.environment = {"LD_PRELOAD": str(build_shim(folder)), "WALL_CLOCK": str(file)}

    def step(self, seconds: float, *, synchronised: bool = False) -> None:
        """Puts it this far from the true time; ``synchronised``: the kernel vouches for it."""
        self._page[:] = struct.pack("=qq", int(seconds * 1e9), int(synchronised))

    def set(self, utc_s: float, *, synchronised: bool = False) -> None:
        """Sets it to a time."""
        self.step(utc_s - time.time(), synchronised=synchronised)
