"""Finding and reading profiles: shipped ones, and directories that overlay them by id.

It reads files and reports every problem at once with file and key; what a profile may say is
``drivers.profile``, what ``extends`` means ``drivers.inherit``.  Not for the daemon.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from drivers.build import PointChoice, plan_device
from drivers.errors import Problem, ProfileError
from drivers.inherit import merged
from drivers.profile import Profile
from drivers.profile_check import cross_problems

MAX_BYTES = 256 * 1024
#: where a technician puts profiles for every site of a gateway
SYSTEM_DIR = Path("/etc/qianshao/profiles")
#: a profile over a profile over a profile is as deep as anyone can follow
_MOST_LAYERS = 4


def system_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """Returns the gateway's own directory of profiles, there or not; ``QIANSHAO_PROFILES`` names another."""
    return Path(environment.get("QIANSHAO_PROFILES") or SYSTEM_DIR)


def system_dirs(environment: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Returns the gateway's own directory of profiles where it exists."""
    folder = system_dir(environment)
    return (folder,) if folder.is_dir() else ()


def shipped_dir() -> Path:
    """Returns the directory of the profiles in this distribution."""
    return Path(str(files("drivers").joinpath("profiles")))


def shipped_profile_ids() -> tuple[str, ...]:
    """Returns the ids of the profiles in this distribution, sorted."""
    return tuple(sorted(path.stem for path in shipped_dir().glob("*.toml")))


def profile_ids(extra_dirs: Iterable[str | Path] = ()) -> tuple[str, ...]:
    """Returns the ids that can be loaded, shipped and extra, sorted."""
    found = set(shipped_profile_ids())
    for folder in extra_dirs:
        found.update(path.stem for path in Path(folder).glob("*.toml"))
    return tuple(sorted(found))


def profile_file(id: str, extra_dirs: Iterable[str | Path] = ()) -> Path | None:
    """Returns the file that an id is read from: of the last directory that has one, else the shipped one."""
    return _find(id, _folders(extra_dirs))


def profile_files(id: str, extra_dirs: Iterable[str | Path] = ()) -> tuple[Path, ...]:
    """Returns every file that a profile is made of: its own first, then what it extends.

    Files that cannot be read end the list; ``load_profile`` says what is wrong with them.
    """
    folders = _folders(extra_dirs)
    found: list[Path] = []
    while len(found) < _MOST_LAYERS:
        path = _find(id, folders)
        if path is None or path in found:
            break
        found.append(path)
        try:
            base = _tables(path.read_bytes(), str(path)).get("extends")
        except (OSError, ProfileError):
            break
        if not isinstance(base, str):
            break
        folders = _below(path, folders) if base == id else folders
        id = base
    return tuple(found)


def load_profile(id: str, extra_dirs: Iterable[str | Path] = ()) -> Profile:
    """Loads a profile by id.

    Args:
        id: file name without ``.toml``.
        extra_dirs: directories that overlay the shipped profiles; the last one wins.

    Raises:
        ProfileError: there is none, or it is wrong; lists every problem with its key.
    """
    folders = _folders(extra_dirs)
    path = _find(id, folders)
    if path is None:
        message = f"there is no profile {id!r}; there are {', '.join(profile_ids(folders[1:]))}"
        raise ProfileError([Problem(file=f"{id}.toml", key="", message=message)])
    # A shipped file is named as people know it, another one by its path.
    file = path.name if path.parent == folders[0] else str(path)
    return _checked(_content(path), file, path.stem, _below(path, folders), folders)


def read_profile(path: str | Path, extra_dirs: Iterable[str | Path] = ()) -> Profile:
    """Loads a profile from a file; raises ProfileError, also where the file cannot be read.

    Args:
        path: of the file; its name must be the profile's id.
        extra_dirs: where a profile that it extends may be, beside the shipped ones.
    """
    path = Path(path)
    folders = _folders(extra_dirs)
    return _checked(_content(path), str(path), path.stem, folders, folders)


def parse_profile(content: bytes, *, file: str, id: str | None = None) -> Profile:
    """Reads a profile from TOML text.

    Args:
        content: the file's bytes, UTF-8.
        file: name used in problems.
        id: what the profile's id must be; ``None`` takes any.

    Raises:
        ProfileError: lists every problem with its key.
    """
    folders = _folders(())
    return _checked(content, file, id, folders, folders)


def _folders(extra_dirs: Iterable[str | Path]) -> list[Path]:
    """The lowest layer first."""
    return [shipped_dir(), *map(Path, extra_dirs)]


def _find(id: str, folders: Sequence[Path]) -> Path | None:
    if "/" in id or id in ("", ".", ".."):
        return None
    paths = (folder / f"{id}.toml" for folder in reversed(folders))
    return next((path for path in paths if path.is_file()), None)


def _below(path: Path, folders: Sequence[Path]) -> list[Path]:
    """The layers under the one that holds a file."""
    places = [place for place, folder in enumerate(folders) if folder / path.name == path]
    return list(folders[: places[-1]]) if places else list(folders)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise ProfileError([Problem(file=str(path), key="", message=message)]) from error


def _tables(content: bytes, file: str) -> dict[str, Any]:
    if len(content) > MAX_BYTES:
        raise ProfileError([Problem(file=file, key="", message=f"larger than {MAX_BYTES} bytes")])
    try:
        data: dict[str, Any] = tomllib.loads(content.decode("utf-8"))
        json.dumps(data, default=str)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ProfileError([Problem(file=file, key="", message=f"is not TOML: {error}")]) from error
    return data


def _with_base(
    data: dict[str, Any], file: str, id: str | None, below: Sequence[Path], folders: Sequence[Path], left: int
) -> dict[str, Any]:
    """Lays a file's tables over those of what it extends."""
    base = data.get("extends")
    if base is None:
        if "drop" in data:
            message = "drops entries of a base, and there is none; extends would name one"
            raise ProfileError([Problem(file=file, key="drop", message=message)])
        return data
    if not isinstance(base, str):
        raise ProfileError([Problem(file=file, key="extends", message=f"{base!r} is no id of a profile")])
    own = base == id
    path = _find(base, below if own else folders)
    if path is None:
        known = ", ".join(profile_ids(folders[1:]))
        what = f"there is no profile {base!r} under this one" if own else f"there is no profile {base!r}"
        raise ProfileError([Problem(file=file, key="extends", message=f"{what}; there are {known}")])
    if left == 0:
        message = f"more than {_MOST_LAYERS} profiles one over the other, or one that extends itself"
        raise ProfileError([Problem(file=file, key="extends", message=message)])
    base_data = _tables(_content(path), str(path))
    whole = _with_base(base_data, path.name, base, _below(path, folders), folders, left - 1)
    result, problems = merged(whole, data)
    if problems:
        raise ProfileError(Problem(file=file, key=key, message=message) for key, message in problems)
    return result


def _checked(content: bytes, file: str, id: str | None, below: Sequence[Path], folders: Sequence[Path]) -> Profile:
    data = _with_base(_tables(content, file), file, id, below, folders, _MOST_LAYERS - 1)
    try:
        profile = Profile.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        raise ProfileError(_problem(file, item) for item in error.errors()) from error
    problems = [Problem(file=file, key=key, message=message) for key, message in cross_problems(profile)]
    if id is not None and profile.id != id:
        problems.append(Problem(file=file, key="id", message=f"is {profile.id!r}, the file is named {id!r}"))
    if not problems:
        try:
            plan_device(profile, {name: PointChoice() for name in profile.all_points})
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
