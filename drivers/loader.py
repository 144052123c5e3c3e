"""Finding and reading profiles: shipped ones, and directories that overlay them by id.

It reads files and reports every problem at once with file and key; what a profile may say is
``drivers.profile``.  Not for the daemon.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from drivers.build import PointChoice, plan_device
from drivers.errors import Problem, ProfileError
from drivers.profile import Profile, cross_problems

MAX_BYTES = 256 * 1024


def shipped_profile_ids() -> tuple[str, ...]:
    """Returns the ids of the profiles in this distribution, sorted."""
    folder = files("drivers").joinpath("profiles")
    return tuple(sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml")))


def profile_ids(extra_dirs: Iterable[str | Path] = ()) -> tuple[str, ...]:
    """Returns the ids that can be loaded, shipped and extra, sorted."""
    found = set(shipped_profile_ids())
    for folder in extra_dirs:
        found.update(path.stem for path in Path(folder).glob("*.toml"))
    return tuple(sorted(found))


def load_profile(id: str, extra_dirs: Iterable[str | Path] = ()) -> Profile:
    """Loads a profile by id.

    Args:
        id: file name without ``.toml``.
        extra_dirs: directories that overlay the shipped profiles; the last one wins.

    Raises:
        ProfileError: there is none, or it is wrong; lists every problem with its key.
    """
    folders = list(extra_dirs)
    if "/" not in id and id not in ("", ".", ".."):
        for folder in reversed(folders):
            path = Path(folder) / f"{id}.toml"
            if path.is_file():
                return read_profile(path)
        shipped = files("drivers").joinpath("profiles", f"{id}.toml")
        if shipped.is_file():
            return parse_profile(shipped.read_bytes(), file=f"{id}.toml", id=id)
    message = f"there is no profile {id!r}; there are {', '.join(profile_ids(folders))}"
    raise ProfileError([Problem(file=f"{id}.toml", key="", message=message)])


def read_profile(path: str | Path) -> Profile:
    """Loads a profile from a file; raises ProfileError, also where the file cannot be read."""
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise ProfileError([Problem(file=str(path), key="", message=message)]) from error
    return parse_profile(content, file=str(path), id=path.stem)


def parse_profile(content: bytes, *, file: str, id: str | None = None) -> Profile:
    """Reads a profile from TOML text.

    Args:
        content: the file's bytes, UTF-8.
        file: name used in problems.
        id: what the profile's id must be; ``None`` takes any.

    Raises:
        ProfileError: lists every problem with its key.
    """
    if len(content) > MAX_BYTES:
        raise ProfileError([Problem(file=file, key="", message=f"larger than {MAX_BYTES} bytes")])
    try:
        data: dict[str, Any] = tomllib.loads(content.decode("utf-8"))
        text = json.dumps(data, default=str)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ProfileError([Problem(file=file, key="", message=f"is not TOML: {error}")]) from error
    try:
        profile = Profile.model_validate_json(text)
    except ValidationError as error:
        raise ProfileError(_problem(file, item) for item in error.errors()) from error
    problems = [Problem(file=file, key=key, message=message) for key, message in cross_problems(profile)]
    if id is not None and profile.id != id:
        problems.append(Problem(file=file, key="id", message=f"is {profile.id!r}, the file is named {id!r}"))
    if not problems:
        try:
            plan_device(profile, {name: PointChoice() for name in profile.points})
        except ProfileError as error:
            problems = [Problem(file=file, key=item.key, message=item.message) for item in error.problems]
    if problems:
        raise ProfileError(problems)
    return profile


def profile_hash(profile: Profile) -> bytes:
    """Returns SHA-256 of a profile's content: equal content, equal hash, whatever the file's layout."""
    content = json.dumps(profile.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(content.encode()).digest()


def _problem(file: str, item: Any) -> Problem:
    key = ""
    for part in item["loc"]:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else str(part)
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "missing":
        message = "is missing"
    elif item["type"] == "extra_forbidden":
        message = "is not a known key"
    elif not isinstance(item["input"], dict):
        message = f"{message} (it is {item['input']!r})"
    return Problem(file=file, key=key, message=message)
