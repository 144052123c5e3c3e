"""Settings of one collector: ``settings.toml`` in its data directory, all of it optional.

[http]       host = "127.0.0.1"   port = 8080   names = []
[broker]     kind = "embedded" | "outside"   host = "127.0.0.1"   port = 1883
             username = ""   password_file = ""
[retention]  days = 0        # 0 keeps everything
[[notify]]   name = "duty"   urls = [] or urls_file = ""   severities = ["red", "orange"]
             gateways = ["*"]   points = ["*"]   lang = "both"   repeat_s = 600   quiet_s = 300
             all_clear = true
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from collector.errors import SettingsError

#: in the data directory
SETTINGS_FILE = "settings.toml"


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


class NotifySettings(_Strict):
    """Who is told of which alarms.  Addresses hold secrets: they are never shown, logged or given to a command."""

    #: names the rule in the record
    name: str = Field(pattern="^[a-z0-9][a-z0-9-]{0,31}$")
    #: addresses as apprise writes them; their order names them in the record
    urls: list[SecretStr] = []
    #: a file in the data directory with one address a line, instead
    urls_file: str = ""
    severities: list[Literal["red", "orange", "yellow", "blue", "info"]] = Field(
        default=["red", "orange"], min_length=1
    )
    #: patterns with ``*`` and ``?``
    gateways: list[str] = Field(default=["*"], min_length=1)
    points: list[str] = Field(default=["*"], min_length=1)
    lang: Literal["zh", "en", "both"] = "both"
    #: seconds between repetitions until somebody acknowledges; 0: none
    repeat_s: int = Field(default=600, ge=0, le=86_400)
    #: seconds for which a source that was told of is not told of anew; never holds back a red alarm
    quiet_s: int = Field(default=300, ge=0, le=86_400)
    #: whether it is told, too, that an alarm is over
    all_clear: bool = True

    @field_validator("repeat_s")
    @classmethod
    def _repeat(cls, value: int) -> int:
        if 0 < value < 30:
            raise ValueError("0 for none, or 30 at least")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> NotifySettings:
        if bool(self.urls) == bool(self.urls_file):
            raise ValueError("either urls or urls_file is needed, and not both")
        return self


class Settings(_Strict):
    """Everything that can be set."""

    http: HttpSettings = HttpSettings()
    broker: BrokerSettings = BrokerSettings()
    retention: RetentionSettings = RetentionSettings()
    notify: list[NotifySettings] = []

    @field_validator("notify")
    @classmethod
    def _names(cls, value: list[NotifySettings]) -> list[NotifySettings]:
        names = [rule.name for rule in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"every name must be another one; {', '.join(twice)} is there twice")
        return value


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
        table = NotifySettings if place[0] == "notify" and len(place) > 1 else table
        known = ", ".join(getattr(table, "model_fields", {}))
        return f"{'.'.join(place)}: there is no such key; there are {known}"
    if place[0] == "notify" and (len(place) < 3 or place[2] in ("urls", "urls_file")):
        return f"{'.'.join(place)}: {item['msg']}"  # what was got may hold an address, and that a secret
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


def read_urls(settings: NotifySettings, folder: Path) -> list[str]:
    """Returns the addresses of a rule; raises SettingsError when its file cannot be read or holds none."""
    if not settings.urls_file:
        return [url.get_secret_value() for url in settings.urls]
    path = folder / settings.urls_file
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise SettingsError(f"notify.{settings.name}.urls_file: {path}: {reason}") from None
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise SettingsError(f"notify.{settings.name}.urls_file: {path} holds no address; one a line is wanted")
    return found
