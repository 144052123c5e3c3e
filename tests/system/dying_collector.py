"""A collector that is killed between a commit of readings and its receipt.

The real command in every other respect; run as ``python -m tests.system.dying_collector serve ...``.
"""

from __future__ import annotations

import os
import signal
import sys

import collector.writer as writer
from collector.cli import main
from collector.store import CommitResult

_answer = writer.Writer._answer


def _die(self: writer.Writer, result: CommitResult) -> None:
    if any(receipt.contiguous for receipt in result.receipts):
        os.kill(os.getpid(), signal.SIGKILL)
    _answer(self, result)


if __name__ == "__main__":
    writer.Writer._answer = _die  # type: ignore[method-assign]
    sys.exit(main())
