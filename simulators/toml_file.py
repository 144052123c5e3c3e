"""Reading a TOML file into a strict pydantic model, with every problem named by its key."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from simulators.errors import FileError

MAX_BYTES = 1024 * 1024
_Model = TypeVar("_Model", bound=BaseModel)


def read_toml(path: Path) -> dict[str, Any]:
    """Returns what a TOML file says; raises FileError, with the line where the syntax is wrong."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileError(str(path), [("", f"cannot be read: {error.strerror or error}")]) from error
    if len(content) > MAX_BYTES:
        raise FileError(str(path), [("", f"larger than {MAX_BYTES} bytes")])
    try:
        return tomllib.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise FileError(str(path), [("", f"not TOML: {error}")]) from error


def parse(model: type[_Model], data: dict[str, Any], source: str) -> _Model:
    """Returns the model; raises FileError that lists every problem with its key."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise FileError(source, [_problem(item, data) for item in error.errors(include_url=False)]) from error


def _problem(item: Any, data: dict[str, Any]) -> tuple[str, str]:
    key, here = "", data
    known: Any = here
    for part in item["loc"]:
        if isinstance(part, int):
            key += f"[{part}]"
            known = known[part] if isinstance(known, list) and part < len(known) else None
        elif isinstance(known, dict) and part not in known and item["type"] != "missing":
            continue  # pydantic's word for a branch of a union, not a key of the file
        else:
            key += f".{part}" if key else str(part)
            known = known.get(part) if isinstance(known, dict) else None
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "missing":
        message = "is missing"
    elif item["type"] == "extra_forbidden":
        message = "is not a known key"
    elif not isinstance(item["input"], (dict, list)):
        message = f"{message[:1].lower()}{message[1:]} (it is {item['input']!r})"
    return key, message
