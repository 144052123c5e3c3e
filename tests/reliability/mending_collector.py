"""Clock repair in a process of its own, to be killed in the middle.

``python -m tests.reliability.mending_collector DIR`` prints a line after each step that it has committed.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import collector.clock_repair as clock_repair
from collector.database import FILE_NAME
from collector.store import Store


def run(folder: Path) -> None:
    """Does every step that is due, small ones."""
    clock_repair._MOVE = 3
    store = Store(folder / FILE_NAME, lambda: time.time_ns() // 1000)
    store.open()
    while True:
        is_more = store.run(lambda db: store.mend())
        print("step", flush=True)
        if not is_more:
            print("done", flush=True)
            return


if __name__ == "__main__":
    run(Path(sys.argv[1]))
