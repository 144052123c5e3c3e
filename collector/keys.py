"""Keys and labels: whose signatures count, and the collector's own key.

A gateway is registered by a small TOML file in ``DATA/gateways``.  It is a file and not a
row, so that ``collector add-gateway`` works beside a running collector without a second
writer on the database; the running one looks again when an unknown gateway knocks.

    DATA/collector.key   private, 0600        DATA/collector.pub   one key line
    DATA/gateways/g-....toml                  key = "...", en = "...", zh = "..."
"""

from __future__ import annotations

import json
import logging
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from collector.errors import SettingsError, StoreError
from contracts.errors import ContractError
from contracts.keys import PublicKey, Signer, Verifier, load_or_create, parse_key_line, write_atomically

_LOG = logging.getLogger(__name__)

#: the folder is not looked at more often than this for the same unknown sender (s)
LOOK_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """One registered gateway."""

    id: str
    keys: tuple[PublicKey, ...]
    en: str
    zh: str


def load_signer(data: Path, *, create: bool = False) -> Signer:
    """Returns the collector's key; makes it and ``collector.pub`` when ``create`` is set.

    Raises:
        SettingsError: it is not there, or is no key.
    """
    path = data / "collector.key"
    if not create and not path.exists():
        raise SettingsError(f"{path} is not there; 'collector init --data {data}' makes it")
    try:
        signer = load_or_create(path)
    except ContractError as error:
        raise SettingsError(str(error)) from error
    public = data / "collector.pub"
    if not public.exists():
        write_atomically(public, (signer.public.line("collector") + "\n").encode())
    return signer


def add_gateway(data: Path, line: str, source: str, *, en: str = "", zh: str = "") -> Registration:
    """Registers a gateway by its key line; the same key again only changes the names.

    Raises:
        SettingsError: the line is no key.
        StoreError: the registration cannot be written.
    """
    try:
        key = parse_key_line(line, source)
    except ContractError as error:
        raise SettingsError(str(error)) from error
    folder = data / "gateways"
    path = folder / f"{key.gateway_id}.toml"
    old = _read(path) if path.exists() else None
    en = en or (old.en if old else "")
    zh = zh or (old.zh if old else "")
    text = "".join(
        f"{name} = {json.dumps(value, ensure_ascii=False)}\n"
        for name, value in (("key", key.line()), ("en", en), ("zh", zh))
    )
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}") from error
    return Registration(id=key.gateway_id, keys=(key,), en=en, zh=zh)


def read_registrations(data: Path) -> list[Registration]:
    """Returns every registered gateway, by id.

    Raises:
        SettingsError: a file is wrong; it is named.
    """
    folder = data / "gateways"
    return [_read(path) for path in sorted(folder.glob("g-*.toml"))] if folder.is_dir() else []


def _read(path: Path) -> Registration:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        line, en, zh = values["key"], values.get("en", ""), values.get("zh", "")
        if not all(isinstance(item, str) for item in (line, en, zh)):
            raise SettingsError(f"{path}: key, en and zh are texts")
        key = parse_key_line(line, "key")
    except KeyError:
        raise SettingsError(f"{path}: there is no 'key'") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ContractError, OSError) as error:
        raise SettingsError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    if key.gateway_id != path.stem:
        raise SettingsError(f"{path}: the key is that of {key.gateway_id}")
    return Registration(id=key.gateway_id, keys=(key,), en=en, zh=zh)


class Registry:
    """The registered gateways in memory; looks at the folder again when somebody is unknown."""

    def __init__(self, data: Path, *, now: Callable[[], float] = time.monotonic) -> None:
        self._data = data
        self._now = now
        self._known: dict[str, tuple[Registration, Mapping[bytes, Verifier]]] = {}
        self._looked: float | None = None
        self._said = ""

    def load(self) -> None:
        """Reads the folder; raises SettingsError."""
        self._known = {
            item.id: (item, {key.key_id: Verifier(key) for key in item.keys}) for item in read_registrations(self._data)
        }

    def keys(self, gateway: str) -> Mapping[bytes, Verifier] | None:
        """Returns the keys of a gateway by key id, or None when it is not registered."""
        found = self._known.get(gateway)
        if found is None:
            now = self._now()
            if self._looked is None or now - self._looked >= LOOK_AGAIN_S:
                self._looked = now
                try:
                    self.load()
                except SettingsError as error:
                    self._say(str(error))
                    return None
                self._said = ""
                found = self._known.get(gateway)
        return None if found is None else found[1]

    def _say(self, problem: str) -> None:
        """Logs a problem with the folder once; while it lasts no new gateway is known."""
        if problem != self._said:
            self._said = problem
            _LOG.error("no new gateway can be registered: %s", problem)

    def registration(self, gateway: str) -> Registration | None:
        found = self._known.get(gateway)
        return None if found is None else found[0]

    def all(self) -> list[Registration]:
        return [item for item, _ in self._known.values()]
