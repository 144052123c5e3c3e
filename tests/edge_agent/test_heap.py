"""One heap for all threads."""

from __future__ import annotations

import platform
import subprocess
import sys

CODE = """
import threading
from edge_agent.heap import give_back, use_one_heap
print(use_one_heap())
kept = []
thread = threading.Thread(target=lambda: kept.extend(bytearray(100_000) for _ in range(50)))
thread.start()
thread.join()
print(len(kept))
kept.clear()
give_back()
"""


def test_it_is_taken_and_threads_go_on() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=True)
    taken, kept = done.stdout.split()
    assert kept == "50"
    assert taken == str(platform.libc_ver()[0] == "glibc")
