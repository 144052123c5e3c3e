"""A mutant: the agent with a wall clock where its monotonic clock should be, in every timer and schedule."""

from __future__ import annotations

import sys
import time

time.monotonic, time.monotonic_ns = time.time, time.time_ns

from edge_agent.cli import main  # noqa: E402  only now, so that everything takes the wrong clock

if __name__ == "__main__":
    sys.exit(main())
