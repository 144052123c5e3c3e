"""What the tables are made of: where they are listed, and the kinds of their columns."""

from __future__ import annotations

from sqlalchemy import BLOB, TEXT, Column, Integer, MetaData

#: of every table; whole only where the modules of tables are loaded: ask ``collector.schema`` for it
metadata = MetaData(
    naming_convention={
        "uq": "uq_%(table_name)s",
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


def integer(name: str, *, null: bool = False) -> Column[int]:
    """Returns a column of whole numbers."""
    return Column(name, Integer, nullable=null)


def words(name: str, *, null: bool = False) -> Column[str]:
    """Returns a column of text."""
    return Column(name, TEXT, nullable=null)


def octets(name: str, *, null: bool = False) -> Column[bytes]:
    """Returns a column of bytes."""
    return Column(name, BLOB, nullable=null)


def number(name: str) -> Column[bytes]:
    """Returns a column of counts (integer) or floats, as the kind says; BLOB affinity keeps which it was."""
    return Column(name, BLOB, nullable=True)


def row_number() -> Column[int]:
    """Returns the column ``no``, by which other tables name a row."""
    return Column("no", Integer, primary_key=True)
