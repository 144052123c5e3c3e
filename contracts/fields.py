"""Bounded decoding: from verified bytes to checked fields, with an error that names the field.

Only bytes whose signature was verified come here, and they are still treated as hostile:
sizes, depths and counts have fixed limits, and a field of the wrong type or range is a
``PayloadError``, never another exception.  Lists are read by position; maps are only used
where a document is read by people too (the catalogue).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgpack

from contracts.errors import PayloadError, TooLargeError

#: an inflated payload is never larger (bytes)
MAX_BODY = 1024 * 1024
#: of a catalogue, which is inflated only after its signature was verified
MAX_CATALOGUE_BODY = 8 * 1024 * 1024
#: no array inside a payload is longer
MAX_ARRAY = 131_072
MAX_STR = 4096
#: containers inside containers
MAX_DEPTH = 10

_library: Any = msgpack  # ships no types for packb and unpackb

U63 = (1 << 63) - 1
U32 = (1 << 32) - 1


def pack(value: Any) -> bytes:
    """Returns the msgpack form of plain values (bytes as bin, text as str)."""
    packed: bytes = _library.packb(value, use_bin_type=True)
    return packed


def unpack(data: bytes | memoryview, *, limit: int = MAX_BODY) -> Any:
    """Returns the plain value in ``data`` of at most ``limit`` bytes; lists come back as lists.

    Raises:
        TooLargeError: beyond a size, count or depth limit.
        PayloadError: not msgpack, bytes left over, extension types, map keys that repeat or are
            not text.
    """
    if len(data) > limit:
        raise TooLargeError(f"payload of {len(data)} bytes; at most {limit}")
    try:
        value = _library.unpackb(
            data,
            raw=False,
            strict_map_key=False,
            max_array_len=MAX_ARRAY,
            max_map_len=4096,
            max_str_len=MAX_STR,
            max_bin_len=MAX_BODY,
            max_ext_len=0,
            ext_hook=_no_extensions,  # an extension of no bytes passes max_ext_len and comes as a tuple
            object_pairs_hook=_no_repeats,
        )
    except PayloadError:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.exceptions.UnpackException) as error:
        text = str(error)
        if "exceeds max" in text or isinstance(error, msgpack.exceptions.StackError):
            raise TooLargeError(f"a count, length or depth is beyond the limit: {text}") from error
        raise PayloadError(f"not msgpack: {text or type(error).__name__}") from error
    if isinstance(value, (list, dict)):
        _check_depth(value, MAX_DEPTH)
    return value


def _no_repeats(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    if any(type(key) is not str for key, _ in pairs):
        raise PayloadError("a map key is not text")
    result = dict(pairs)
    if len(result) != len(pairs):
        raise PayloadError("a map repeats a key")
    return result


def _no_extensions(code: int, data: bytes) -> Any:
    raise PayloadError(f"extension type {code} of {len(data)} bytes; there are none in a payload")


def _check_depth(value: list[Any] | dict[Any, Any], left: int) -> None:
    if left == 0:
        raise TooLargeError(f"nested deeper than {MAX_DEPTH}")
    items = value.values() if isinstance(value, dict) else value
    for item in items:
        if isinstance(item, (list, dict)):
            _check_depth(item, left - 1)


class Fields:
    """Reads the fields of one list in order; every error names record and field."""

    __slots__ = ("_items", "_next", "_what")

    def __init__(self, what: str, value: Any, count: int) -> None:
        """Takes the list ``value`` for the record ``what``, which has ``count`` fields."""
        if not isinstance(value, (list, tuple)):
            raise PayloadError(f"{what}: expected a list of {count} fields, got {_shown(value)}")
        if len(value) != count:
            raise PayloadError(f"{what}: expected {count} fields, got {len(value)}")
        self._what = what
        self._items = value
        self._next = 0

    def raw(self) -> Any:
        """Returns the next field as it is."""
        item = self._items[self._next]
        self._next += 1
        return item

    def refuse(self, name: str, wanted: str, value: Any) -> PayloadError:
        return PayloadError(f"{self._what}.{name}: expected {wanted}, got {_shown(value)}")

    def integer(self, name: str, low: int = 0, high: int = U63) -> int:
        value = self.raw()
        if type(value) is not int or not low <= value <= high:
            raise self.refuse(name, f"an integer from {low} to {high}", value)
        return value

    def optional_integer(self, name: str, low: int = 0, high: int = U63) -> int | None:
        if self._items[self._next] is None:
            self._next += 1
            return None
        return self.integer(name, low, high)

    def number(self, name: str) -> float:
        value = self.raw()
        if type(value) is int:
            value = float(value) if abs(value) < 1 << 1000 else math.inf
        if type(value) is not float or not math.isfinite(value):
            raise self.refuse(name, "a finite number", value)
        return value

    def optional_number(self, name: str) -> float | None:
        if self._items[self._next] is None:
            self._next += 1
            return None
        return self.number(name)

    def boolean(self, name: str) -> bool:
        value = self.raw()
        if value is not True and value is not False:
            raise self.refuse(name, "true or false", value)
        return bool(value)

    def text(self, name: str, limit: int = 256, *, pattern: Callable[[str], bool] | None = None) -> str:
        value = self.raw()
        if type(value) is not str or len(value.encode("utf-8", "surrogatepass")) > limit:
            raise self.refuse(name, f"text of at most {limit} bytes", value)
        if pattern is not None and not pattern(value):
            raise self.refuse(name, "text of the right form", value)
        return value

    def choice(self, name: str, allowed: frozenset[str]) -> str:
        value = self.raw()
        if type(value) is not str or value not in allowed:
            raise self.refuse(name, "one of " + ", ".join(sorted(allowed)), value)
        return value

    def binary(self, name: str, low: int, high: int | None = None) -> bytes:
        value = self.raw()
        top = low if high is None else high
        if type(value) is not bytes or not low <= len(value) <= top:
            raise self.refuse(name, f"{low} bytes" if low == top else f"{low} to {top} bytes", value)
        return value

    def optional_binary(self, name: str, low: int, high: int | None = None) -> bytes | None:
        if self._items[self._next] is None:
            self._next += 1
            return None
        return self.binary(name, low, high)

    def items(self, name: str, limit: int) -> list[Any]:
        value = self.raw()
        if not isinstance(value, (list, tuple)) or len(value) > limit:
            raise self.refuse(name, f"a list of at most {limit}", value)
        return list(value)


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple, dict)):
        return f"{type(value).__name__} of {len(value)}"
    if isinstance(value, (bytes, str)):
        return f"{type(value).__name__} of length {len(value)}" if len(value) > 40 else repr(value)
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
