"""Settings of one collector: ``settings.toml`` in its data directory, all of it optional.

[http]       host = "127.0.0.1"   port = 8080   names = []
[broker]     kind = "embedded" | "outside"   host = "127.0.0.1"   port = 1883
             username = ""   password_file = ""
[retention]  days = 0        # 0 keeps everything
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from collector.errors import SettingsError


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class HttpSettings(_Strict):
    """The page and the interface; no access control yet, so this machine only."""

    host: Literal["127.0.0.1", "::1", "localhost"] = "127.0.0.1"
    port: int = Field(default=8080, ge=1, le=65535)
    #: names under which browsers may ask, besides localhost and addresses
    names: list[str] = []


class BrokerSettings(_Strict):
    """Where messages come from; ``mosquitto`` is another word for ``outside``."""

    kind: Literal["embedded", "outside", "mosquitto"] = "embedded"
    host: str = "127.0.0.1"
    port: int = Field(default=1883, ge=1, le=65535)
    username: str = ""
    password_file: str = ""


class RetentionSettings(_Strict):
    """How many whole days of evidence are kept; 0 keeps everything."""

    days: int = Field(default=0, ge=0, le=36_500)


class Settings(_Strict):
    """Everything that can be set."""

    http: HttpSettings = HttpSettings()
    broker: BrokerSettings = BrokerSettings()
    retention: RetentionSettings = RetentionSettings()


def load_settings(path: Path) -> Settings:
    """Reads the file; the defaults where there is none.

    Raises:
        SettingsError: every wrong key with what would be right, all at once.
    """
    if not path.exists():
        return Settings()
    try:
        return Settings.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    except ValidationError as error:
        raise SettingsError("\n".join(f"{path}: {_sentence(item)}" for item in error.errors())) from error


def _sentence(item: ErrorDetails) -> str:
    """Returns the key, its value and what would be right."""
    place = [str(part) for part in item["loc"]]
    if item["type"] == "extra_forbidden":
        table = Settings.model_fields[place[0]].annotation if len(place) > 1 else Settings
        known = ", ".join(getattr(table, "model_fields", {}))
        return f"{'.'.join(place)}: there is no such key; there are {known}"
    return f"{'.'.join(place)}: {item['msg']}, got {item['input']!r}"


def read_password(settings: BrokerSettings, folder: Path) -> str:
    """Returns the broker's password; raises SettingsError when its file cannot be read."""
    if not settings.password_file:
        return ""
    try:
        return (folder / settings.password_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(f"broker.password_file: {folder / settings.password_file}: {reason}") from error
