"""One TOML table of a rule pack, read key by key; everything wrong with it is collected.

It knows forms (a text, a number, one of some words) and no meanings; those are ``rules.pack``
and ``rules.pack_limit``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TypeVar

#: longest text where nothing else is said (bytes)
MAX_TEXT = 256
#: tables in one list; events and catalogue have room for 32 limits
MAX_ENTRIES = 31

_Word = TypeVar("_Word", bound=StrEnum)


class TableReader:
    """Takes keys out of one TOML table and collects what is wrong with them."""

    def __init__(self, table: Mapping[str, object], where: str, allowed: tuple[str, ...], problems: list[str]) -> None:
        self._table = table
        self._where = where
        self._problems = problems
        for key in table:
            if key not in allowed:
                self.problem(key, f"is not known here; known are {', '.join(allowed)}")

    def problem(self, key: str, text: str) -> None:
        """Notes what is wrong with a key, and what would be right."""
        self._problems.append(f"{self._where}{key}: {text}")

    def _take(self, key: str, wanted: str, *, required: bool) -> object:
        if key in self._table:
            return self._table[key]
        if required:
            self.problem(key, f"is missing; give {wanted}")
        return None

    def text(self, key: str, wanted: str = "a text", *, default: str | None = None, limit: int = MAX_TEXT) -> str:
        """Returns a text; ``default`` None: it has to be there."""
        value = self._take(key, wanted, required=default is None)
        if value is None:
            return default or ""
        if not isinstance(value, str) or (default is None and not value.strip()):
            self.problem(key, f"is {value!r}; give {wanted}")
            return default or ""
        if len(value.encode()) > limit:
            self.problem(key, f"has {len(value.encode())} bytes; give at most {limit}")
            return value[:1]
        return value

    def pattern(self, key: str, pattern: re.Pattern[str], wanted: str) -> str:
        """Returns a text of a form."""
        value = self.text(key, wanted)
        if value and pattern.fullmatch(value) is None:
            self.problem(key, f"is {value!r}; give {wanted}")
        return value

    def number(self, key: str, *, default: float = 0.0) -> float:
        """Returns a number."""
        value = self.number_or_none(key)
        return default if value is None else value

    def number_or_none(self, key: str) -> float | None:
        """Returns a number, or None where the key is not there."""
        value = self._take(key, "a number", required=False)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
            self.problem(key, f"is {value!r}; give a number")
            return None
        return float(value)

    def count(self, key: str, *, default: int) -> int:
        """Returns a whole number."""
        value = self._take(key, "a whole number", required=False)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value >= 1 << 32:
            self.problem(key, f"is {value!r}; give a whole number of at least 1")
            return default
        return value

    def truth(self, key: str, *, default: bool) -> bool:
        """Returns true or false."""
        value = self._take(key, "true or false", required=False)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.problem(key, f"is {value!r}; give true or false")
            return default
        return value

    def word(self, key: str, words: type[_Word], *, default: _Word | None = None) -> _Word | None:
        """Returns one of some words; it has to be there unless there is a default."""
        wanted = "one of " + ", ".join(words)
        value = self._take(key, wanted, required=default is None)
        if value is None:
            return default
        for member in words:
            if member.value == value:
                return member
        self.problem(key, f"is {value!r}; give {wanted}")
        return None

    def words(self, key: str, allowed: Iterable[str]) -> tuple[str, ...]:
        """Returns a list of known words; it has to be there."""
        known = sorted(allowed)
        value = self._take(key, "a list of quantities", required=True)
        if value is None:
            return ()
        if not isinstance(value, list) or not value:
            self.problem(key, f"is {value!r}; give a list of some of {', '.join(known)}")
            return ()
        for item in value:
            if item not in known:
                self.problem(key, f"{item!r} is not known; known are {', '.join(known)}")
        return tuple(str(item) for item in value)

    def tables(self, key: str) -> list[Mapping[str, object]]:
        """Returns a list of tables; none where the key is not there."""
        value = self._take(key, "", required=False)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.problem(key, f"is no list of tables; write [[{key}]] above each")
            return []
        if len(value) > MAX_ENTRIES:
            self.problem(key, f"has {len(value)} entries; give at most {MAX_ENTRIES}")
        return value
