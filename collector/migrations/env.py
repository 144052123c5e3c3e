"""Alembic's entry: runs on the connection that ``collector.database`` hands in, never offline."""

from __future__ import annotations

from alembic import context

from collector.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
