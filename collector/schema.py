"""The schema: every table, those of facts (``schema_facts``) and those made from them (``schema_projections``).

This is the one description of the schema; migrations in ``collector/migrations`` lead to it, and a test
compares the two.  The hot path speaks to SQLite directly.

Times ending in ``_us`` are microseconds: ``first_us``, ``last_us``, ``sealed_us``, ``since_us`` and ``until_us`` of an
inhibit, and ``mono_us`` are monotonic of one boot, all others are UTC.
"""

from __future__ import annotations

from collector import schema_facts, schema_projections
from collector.schema_columns import metadata

#: the modules that fill ``metadata``
TABLES = (schema_facts, schema_projections)

__all__ = ["TABLES", "metadata"]
