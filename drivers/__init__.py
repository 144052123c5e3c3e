"""Bytes on a line, and the values in them: decode, plan records, ports and device profiles.

Names are imported from their modules, because the daemon must not pull in pydantic:
``profile``, ``build``, ``loader`` and ``examples`` are for ``check``, ``compile`` and the
simulators; everything else is for the daemon too.
"""

from __future__ import annotations
