"""What a technician asks of a line: what is on it, what is wrong with it, what do these words mean."""

from __future__ import annotations
