"""The site file: what a technician writes about one gateway, as TOML, checked strictly.

It says what may stand in the file and where a problem lies; what the words mean for a plan
is ``compile.py``.  Not for the daemon: it needs pydantic.

    python -m edge_agent.config --write    makes config/schema/site.schema.json again
    python -m edge_agent.config --check    fails when that file is behind this one
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tomllib
import types
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from drivers.dial_in import KINDS, Packet, PacketForm
from drivers.errors import DriverError
from drivers.rs485 import Rs485Settings
from edge_agent.config_annunciator import Annunciator
from edge_agent.config_rules import Confirmed, LimitChange, Number, Pair
from edge_agent.errors import ConfigError
from edge_agent.plan_own import CARD_ENDURANCE_BYTES, RELOAD_TRIAL_S
from edge_agent.plan_upkeep import MAX_DAYS
from rules.due_dates import GRACE_DAYS

MAX_BYTES = 4 * 1024 * 1024
_ID = r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$"

Id = Annotated[str, Field(pattern=_ID, description="small letters, digits and inner hyphens, at most 32")]
Text = Annotated[str, Field(min_length=1, max_length=80)]
Seconds = Annotated[float, Field(ge=0.1, le=86_400, allow_inf_nan=False)]
#: from the change of a register to its judgement
Deadline = Annotated[float, Field(ge=0.2, le=172_800, allow_inf_nan=False)]
#: where something hangs, in the words of whoever goes there
Street = Annotated[str, Field(max_length=80, description="where it hangs, for the visit list")]
#: from one bump test or calibration to the next
Days = Annotated[int, Field(ge=0, le=MAX_DAYS, description="days from one to the next; 0: not watched")]
Timeout = Annotated[float, Field(ge=0.05, le=60, allow_inf_nan=False)]


def listen_address(text: str, example: str) -> tuple[str, int]:
    """Returns host and port of an address to listen on.

    Raises:
        ValueError: says what would be right.
    """
    host, _, number = text.rpartition(":")
    any_host = "[::]" if example.startswith("0.0.0.0") else "[::1]"
    fits = f"{example} or {any_host}:{example.rpartition(':')[2]} would be right"
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise ValueError(f"begins with no IP address; {fits}") from None
    if not number.isascii() or not number.isdigit() or not 1 <= int(number) <= 65535:
        raise ValueError(f"ends with no port from 1 to 65535; {example} would be right")
    return str(address), int(number)


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Names(_Table):
    """A name in both languages."""

    en: Text
    zh: Text


class Gateway(_Table):
    """This gateway."""

    name: Names
    state_dir: Annotated[str, Field(description="relative to this file; default: STATE_DIRECTORY of systemd")] = ""
    street: Street = ""
    grace_days: Annotated[
        int, Field(ge=0, le=MAX_DAYS, description="after the due date of a calibration; then values are uncertain")
    ] = GRACE_DAYS
    reload_trial_s: Annotated[
        float,
        Field(ge=0, le=86_400, allow_inf_nan=False, description="after a reload; 0: it is never rolled back"),
    ] = RELOAD_TRIAL_S


class Uplink(_Table):
    """The broker, and the collectors whose receipts are believed."""

    host: Annotated[str, Field(min_length=1, max_length=253)]
    port: Annotated[int, Field(ge=1, le=65535)] = 1883
    tls_ca: Annotated[str, Field(description="file of certificates; empty without TLS")] = ""
    username: Annotated[str, Field(max_length=120)] = ""
    password_file: str = ""
    collector_key: Annotated[
        str | list[str],
        Field(description="key lines, or files that hold one; none: nothing is sent until a collector is known"),
    ] = []
    seal_interval_s: Annotated[float, Field(ge=0.2, le=3600, description="default 2; 60 where metered")] | None = None
    metered: bool = False
    backlog_share: Annotated[float, Field(gt=0, le=1, description="part of the link that backlog may take")] = 0.5
    allowance_mb: Annotated[
        int | None, Field(ge=1, le=10_000_000, description="what the operator allows in a month, both ways")
    ] = None
    billing_day: Annotated[int, Field(ge=1, le=28, description="the month of the bill begins on it")] = 1
    allowance_warn: Annotated[
        list[Annotated[float, Field(gt=0, lt=1)]],
        Field(max_length=8, description="parts of the allowance at which it is told"),
    ] = [0.5, 0.8]
    allowance_thin: Annotated[
        float, Field(gt=0, le=1, description="from this part of the allowance on ordinary data are thinned")
    ] = 0.9
    max_bytes_per_s: Annotated[int | None, Field(ge=100, le=1_000_000_000, description="default: no cap")] = None
    interface: Annotated[
        str, Field(max_length=15, description="whose bytes count; default: the one of the route to the broker")
    ] = ""
    first_connect_spread_s: Annotated[
        float, Field(ge=0, le=300, description="the first try after a start comes anywhere within this")
    ] = 0.0
    reconnect_most_s: Annotated[
        float, Field(ge=0.5, le=60, description="no wait between two tries to connect is longer")
    ] = 60.0


class Spool(_Table):
    """How much sealed data is kept."""

    quota_mb: Annotated[int, Field(ge=1, le=1_000_000)] = 1024
    reserve_mb: Annotated[int, Field(ge=0, le=1_000_000, description="part of quota_mb for alarms only")] = 64
    retention_days: Annotated[int, Field(ge=0, le=3650, description="of delivered batches")] = 7
    card_endurance_tb: Annotated[
        float,
        Field(gt=0, le=1_000_000, allow_inf_nan=False, description="what its data sheet says may be written"),
    ] = CARD_ENDURANCE_BYTES / 1e12


class Metrics(_Table):
    """Figures for a monitoring system, as Prometheus text."""

    listen: Annotated[str, Field(description="address and port, such as 127.0.0.1:9464; empty: none")] = ""

    @field_validator("listen")
    @classmethod
    def _is_address(cls, listen: str) -> str:
        if listen:
            listen_address(listen, "127.0.0.1:9464")
        return listen

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on; empty and 0 for none."""
        return listen_address(self.listen, "127.0.0.1:9464") if self.listen else ("", 0)


Host = Annotated[str, Field(min_length=1, max_length=253)]
TcpNumber = Annotated[int, Field(ge=1, le=65535)]
Baud = Annotated[int, Field(ge=300, le=4_000_000)]
Gap = Annotated[int, Field(ge=0, le=1000, description="silence before each request")]
Delay = Annotated[float, Field(ge=0, le=30, description="what the network adds to a reply's way, there and back")]


class TcpPort(_Table):
    """A Modbus TCP device or gateway."""

    id: Id
    kind: Literal["tcp"]
    host: Host
    port: TcpNumber = 502
    in_flight: Annotated[int, Field(ge=1, le=16, description="requests that may wait for replies at once")] = 1
    gateway_timeout_s: Annotated[
        float, Field(ge=0, le=60, description="how long the gateway waits for a device; no request is given up earlier")
    ] = 0.0


class RtuTcpPort(_Table):
    """A serial server that passes RTU frames over TCP as they are."""

    id: Id
    kind: Literal["rtu-tcp"]
    host: Host
    port: TcpNumber
    baud: Annotated[Baud, Field(description="of the line behind it, for time-outs")] = 9600
    gap_ms: Gap = 0
    network_delay_s: Delay = 0.3


class DtuPacket(_Table):
    """What a DTU sends of its own: one of text, hex and pattern."""

    text: Annotated[str, Field(description="sent as UTF-8")] | None = None
    hex: Annotated[str, Field(description="pairs of digits, such as 'FE 01'")] | None = None
    pattern: Annotated[str, Field(description="regular expression over the bytes")] | None = None
    example: Annotated[str, Field(description="text that the pattern fits; the simulator sends it")] | None = None

    @property
    def packet(self) -> Packet:
        """As the drivers take it."""
        kind = next(kind for kind in KINDS if getattr(self, kind) is not None)
        return Packet(kind=kind, value=getattr(self, kind))

    @model_validator(mode="after")
    def _is_one(self) -> DtuPacket:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"has {' and '.join(given) or 'none'} of {', '.join(KINDS)}; one would be right")
        try:
            form = PacketForm(self.packet)
        except DriverError as error:
            raise ValueError(f"{given[0]}: {error}") from error
        sample = None if self.example is None else self.example.encode()
        if sample is not None and form.length_at_start(sample) != len(sample):
            raise ValueError(f"example {self.example!r} does not fit {given[0]}")
        return self


class DtuPort(_Table):
    """A DTU that dials in, says who it is, and is polled through its connection."""

    id: Id
    kind: Literal["dtu"]
    listen: Annotated[str, Field(description="address and port to listen on, such as 0.0.0.0:9000; DTUs may share it")]
    registration: Annotated[DtuPacket, Field(description="its first packet")]
    heartbeat: Annotated[DtuPacket, Field(description="what it sends in between")] | None = None
    registration_timeout_s: Annotated[float, Field(ge=1, le=300)] = 10.0
    baud: Annotated[Baud, Field(description="of the line behind it, for time-outs")] = 9600
    gap_ms: Gap = 0
    network_delay_s: Delay = 2.0

    @field_validator("listen")
    @classmethod
    def _is_address(cls, listen: str) -> str:
        listen_address(listen, "0.0.0.0:9000")
        return listen

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on."""
        return listen_address(self.listen, "0.0.0.0:9000")


class KernelRs485(_Table):
    """How the kernel's driver switches the transceiver by RTS; only where the driver can and the wiring needs it."""

    rts_on_send: Annotated[bool, Field(description="level of RTS while sending")] = True
    rts_after_send: Annotated[bool, Field(description="level of RTS afterwards")] = False
    delay_before_ms: Annotated[int, Field(ge=0, le=100, description="between RTS and the first bit")] = 0
    delay_after_ms: Annotated[int, Field(ge=0, le=100, description="between the last bit and RTS")] = 0
    rx_during_tx: Annotated[bool, Field(description="hears itself; the echo is taken away")] = False
    terminate: Annotated[bool, Field(description="terminating resistor on, where the board has one")] = False

    @model_validator(mode="after")
    def _levels_differ(self) -> KernelRs485:
        if self.rts_on_send == self.rts_after_send:
            raise ValueError(
                "rts_on_send and rts_after_send are equal, so the transceiver is never switched; one of each is right"
            )
        return self


class SerialPort(_Table):
    """A serial line; each character has 8 data bits."""

    id: Id
    kind: Literal["serial"]
    device: Annotated[str, Field(min_length=1, description="for example /dev/ttyUSB0; relative to this file")]
    baud: Baud
    parity: Literal["none", "even", "odd"] = "none"
    stop_bits: Literal[1, 2] = 1
    listen_only: Annotated[
        bool, Field(description="another controller owns this bus: nothing is sent, what it reads is read along")
    ] = False
    rs485: Annotated[
        KernelRs485 | None,
        Field(description="direction switched by the kernel, not by the adapter itself; {} for the usual levels"),
    ] = None

    @model_validator(mode="after")
    def _sends(self) -> SerialPort:
        if self.listen_only and self.rs485 is not None:
            raise ValueError("rs485 switches a port that sends, and listen_only never sends; leave one of them out")
        return self

    @property
    def switching(self) -> Rs485Settings | None:
        """``rs485`` as the drivers take it."""
        return None if self.rs485 is None else Rs485Settings(**self.rs485.model_dump())


Port = Annotated[TcpPort | RtuTcpPort | DtuPort | SerialPort, Field(discriminator="kind")]
#: kind -> the table that it makes of a port
_PORT_TABLES: dict[str, type[BaseModel]] = {"tcp": TcpPort, "rtu-tcp": RtuTcpPort, "dtu": DtuPort, "serial": SerialPort}


class Point(_Table):
    """What this site changes of one point of the profile."""

    read: Annotated[bool, Field(description="default: as the profile says")] | None = None
    name: Names | None = None
    quantity: Annotated[str, Field(description="what is measured, where the profile cannot know")] | None = None
    unit: Annotated[str, Field(description="UCUM unit that the instrument is set to")] | None = None
    interval_s: Seconds | None = None
    deadline_s: Deadline | None = None
    longest_silence_s: Annotated[float, Field(gt=0, le=604_800)] | None = None
    bump_days: Days | None = None
    calibration_days: Days | None = None
    rules: Annotated[list[str], Field(description="rule sets, by id")] = []
    limits: Annotated[dict[str, LimitChange], Field(description="by the limit's name in the rule set")] = {}
    pair: Annotated[list[Pair], Field(description="alarms that a second point confirms")] = []


class FeatureChange(_Table):
    """What this site says of one feature of a burst."""

    name: Names | None = None
    longest_silence_s: Annotated[float, Field(gt=0, le=604_800)] | None = None
    rules: Annotated[list[str], Field(description="rule sets, by id")] = []
    limits: Annotated[dict[str, LimitChange], Field(description="by the limit's name in the rule set")] = {}


class Burst(_Table):
    """Fast reads of one device for some seconds, again and again, and what is computed of them."""

    points: Annotated[list[str], Field(description="names of the profile; default: its accelerations")] = []
    rate_hz: Annotated[float, Field(ge=1, le=1000, allow_inf_nan=False, description="reads a second")]
    length_s: Annotated[float, Field(ge=1, le=600, allow_inf_nan=False)] = 20.0
    every_s: Annotated[float, Field(ge=2, le=86_400, allow_inf_nan=False)] = 600.0
    features: Annotated[
        list[Literal["mean", "rms", "peak", "p2p", "frequency", "tilt", "drift"]],
        Field(description="default: rms, peak, frequency; tilt with three axes; drift with upright"),
    ] = []
    frequencies: Annotated[int, Field(ge=1, le=5, description="how many of each point")] = 1
    upright: Annotated[
        list[Number] | None,
        Field(min_length=3, max_length=3, description="means of x, y, z when the drift was zero, in the points' unit"),
    ] = None
    waveform: Annotated[bool, Field(description="keep the samples around an alarm of the device")] = True
    feature: Annotated[dict[str, FeatureChange], Field(description="by name, such as x-rms or drift")] = {}


class Device(_Table):
    """One device behind a port."""

    id: Id
    name: Names | None = None
    port: Annotated[str, Field(description="id of a port")]
    unit_id: Annotated[int, Field(ge=0, le=255)]
    profile: Annotated[str, Field(description="id of a device profile")]
    serial: Annotated[str, Field(max_length=60, description="serial number")] = ""
    interval_s: Annotated[Seconds, Field(description="of every point that does not say otherwise")] | None = None
    deadline_s: Annotated[Deadline, Field(description="of each point with limits that says nothing else")] | None = None
    timeout_s: Annotated[Timeout, Field(description="counted for an answer; default: 0.5")] | None = None
    street: Annotated[Street, Field(description="default: that of the gateway")] = ""
    bump_days: Annotated[Days, Field(description="of its gas points that say nothing else")] | None = None
    calibration_days: Annotated[Days, Field(description="of its measured points that say nothing else")] | None = None
    allow_write: Annotated[bool, Field(description="whether a person may write to it through this gateway")] = False
    points: Annotated[dict[str, Point], Field(description="by the point's name in the profile")] = {}
    burst: Annotated[Burst | None, Field(description="for vibration and tilt; needs numpy")] = None


class Site(_Table):
    """One gateway: what it reads, judges, keeps and sends."""

    gateway: Gateway
    uplink: Uplink | None = None
    spool: Spool = Spool()
    metrics: Metrics = Metrics()
    annunciator: Annunciator | None = None
    port: Annotated[list[Port], Field(min_length=1)]
    device: Annotated[list[Device], Field(min_length=1)]
    profile_dirs: Annotated[list[str], Field(description="directories of further device profiles")] = []
    rule_dirs: Annotated[list[str], Field(description="directories of further rule packs")] = []
    confirmation: Annotated[list[Confirmed], Field(description="limits confirmed in writing; others are on trial")] = []
    allow_overrun: Annotated[bool, Field(description="run although an alarm point can miss its deadline")] = False


def read_toml(path: Path) -> dict[str, Any]:
    """Returns what a TOML file says.

    Raises:
        ConfigError: it cannot be read, or is not TOML; the message has the line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror or error}"]) from error
    if len(content) > MAX_BYTES:
        raise ConfigError([f"{path}: larger than {MAX_BYTES} bytes"])
    try:
        return tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError([f"{path}: line {line}: not UTF-8; save the file as UTF-8"]) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError([f"{path}: not TOML: {error}"]) from error


def read_site(path: Path) -> Site:
    """Reads a site file.

    Raises:
        ConfigError: lists everything that is wrong with its form.
    """
    data = read_toml(path)
    try:
        return Site.model_validate(data)
    except ValidationError as error:
        problems = (_problem(str(path), item, data) for item in error.errors(include_url=False))
        raise ConfigError(dict.fromkeys(problems)) from error


def device_key(index: int, id: str) -> str:
    """Returns how a device is named in a problem: by id, or by place where it has none."""
    return f"device[{id or index}]"


def _problem(file: str, item: Any, data: Mapping[str, Any]) -> str:
    loc: Sequence[int | str] = item["loc"]
    key = _path(loc, data, is_missing=item["type"] == "missing")
    kind, value, context = item["type"], item["input"], item.get("ctx", {})
    message = str(item["msg"])
    if kind == "missing":
        message = f"is missing; {_wanted(loc)}"
    elif kind == "extra_forbidden":
        message = f"is not known here; known are {', '.join(_known_keys(loc))}"
    elif kind == "union_tag_not_found":
        key, message = f"{key}.kind", f"is missing; {_shown_kinds()} would be right"
    elif kind == "union_tag_invalid":
        key, message = f"{key}.kind", f"{context.get('tag')!r} is not known; {_shown_kinds()} would be right"
    elif kind == "string_pattern_mismatch":
        message = f"{value!r} has another form; small letters, digits and inner hyphens, at most 32, would be right"
    elif kind == "value_error":
        message = f"{_shown(value)}: {context['error']}" if isinstance(value, str) else str(context["error"])
    elif isinstance(value, float) and not math.isfinite(value):
        message = f"{value!r} is not finite; a number would be right"
    else:
        message = f"{_shown(value)}: {message[:1].lower()}{message[1:]}"
    return f"{file}: {key}: {message}" if key else f"{file}: {message}"


def _shown_kinds() -> str:
    *most, last = map(repr, _PORT_TABLES)
    return f"{', '.join(most)} or {last}"


def _path(loc: Sequence[int | str], data: Mapping[str, Any], *, is_missing: bool) -> str:
    """The dotted path of a problem; a list's elements are named by their id where they have one."""
    path = ""
    here: Any = data
    for index, part in enumerate(loc):
        if isinstance(part, int):
            here = here[part] if isinstance(here, list) and part < len(here) else {}
            own = here.get("id") if isinstance(here, dict) else None
            path += f"[{own if isinstance(own, str) and own else part}]"
            continue
        is_table = isinstance(here, dict)
        # A word that is no key of the file is pydantic's for a branch of a union, unless it is a missing key.
        if not is_table or (part not in here and not (is_missing and index == len(loc) - 1)):
            continue
        path += f".{part}" if path else part
        here = here.get(part, {}) if isinstance(here, dict) else {}
    return path


def _models_at(loc: Sequence[int | str]) -> list[type[BaseModel]]:
    """The tables that may stand at a path; more than one where kinds differ."""
    here: list[Any] = [Site]
    for part in loc:
        if isinstance(part, int):
            continue
        step: list[Any] = []
        for model in here:
            field = model.model_fields.get(part)
            step += _tables(field.annotation) if field is not None else []
            if part in _PORT_TABLES and model in _PORT_TABLES.values():
                step += [_PORT_TABLES[part]]
        # A word that is no field names an element of a table of tables (a point, a limit).
        here = list(dict.fromkeys(step)) or here
    return here


def _tables(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (list, dict, Union, types.UnionType, Annotated, tuple):
        return [table for part in get_args(annotation) for table in _tables(part)]
    return []


def _known_keys(loc: Sequence[int | str]) -> list[str]:
    return list(dict.fromkeys(name for model in _models_at(loc[:-1]) for name in model.model_fields))


def _wanted(loc: Sequence[int | str]) -> str:
    for model in _models_at(loc[:-1]):
        field = model.model_fields.get(str(loc[-1]))
        if field is not None and field.description:
            return f"needed: {field.description}"
    return "it has no default"


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def schema_text() -> str:
    """Returns the JSON Schema of a site file, as it is committed."""
    schema = Site.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Qianshao site file"
    return json.dumps(schema, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the schema file, or tells whether it is up to date."""
    parser = argparse.ArgumentParser(prog="python -m edge_agent.config")
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--check", action="store_true", help="fail when the committed schema is behind the model")
    choice.add_argument("--write", action="store_true", help="write the schema")
    options = parser.parse_args(arguments)
    path = Path(__file__).resolve().parent.parent / "config" / "schema" / "site.schema.json"
    text = schema_text()
    if options.write:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return 0
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        print(f"{path}: behind edge_agent/config.py; run python -m edge_agent.config --write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
