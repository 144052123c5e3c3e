"""The plant: which lines and devices are simulated, taken from a site file.

The same file that an agent compiles tells the simulator what to be, so that the two cannot
disagree; any site file will do, also one written for real hardware.  Only ports and devices are
read here.  Keys that matter to the agent alone are its business to check.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from drivers.errors import ProfileError
from drivers.loader import load_profile, system_dirs
from drivers.profile import Profile
from simulators.errors import FileError, ImageError
from simulators.image import DeviceImage
from simulators.toml_file import parse, read_toml

Id = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class _Names(_Part):
    en: str
    zh: str


class _TcpPort(_Part):
    id: Id
    kind: Literal["tcp"]
    host: str
    port: Annotated[int, Field(ge=1, le=65535)] = 502


class _RtuTcpPort(_Part):
    id: Id
    kind: Literal["rtu-tcp"]
    host: str
    port: Annotated[int, Field(ge=1, le=65535)]
    baud: Annotated[int, Field(ge=300, le=4_000_000)] = 9600


class _DtuPacket(_Part):
    text: str | None = None
    hex: str | None = None
    pattern: str | None = None
    example: str | None = None


class _DtuPort(_Part):
    id: Id
    kind: Literal["dtu"]
    listen: str
    registration: _DtuPacket
    heartbeat: _DtuPacket | None = None
    baud: Annotated[int, Field(ge=300, le=4_000_000)] = 9600


class _SerialPort(_Part):
    id: Id
    kind: Literal["serial"]
    device: Annotated[str, Field(min_length=1)]
    baud: Annotated[int, Field(ge=300, le=4_000_000)]
    parity: Literal["none", "even", "odd"] = "none"
    stop_bits: Literal[1, 2] = 1
    listen_only: bool = False


_Port = _TcpPort | _RtuTcpPort | _DtuPort | _SerialPort


class _Point(_Part):
    unit: str | None = None
    read: bool | None = None


class _Device(_Part):
    id: Id
    name: _Names | None = None
    port: str
    unit_id: Annotated[int, Field(ge=0, le=255)]
    profile: str
    serial: str = ""
    points: dict[str, _Point] = {}


class _Site(_Part):
    port: Annotated[list[Annotated[_Port, Field(discriminator="kind")]], Field(min_length=1)]
    device: Annotated[list[_Device], Field(min_length=1)]
    profile_dirs: list[str] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSettings:
    """How characters look on a serial line; each has 8 data bits."""

    #: bits per second
    baud: int = 9600
    #: ``none``, ``even`` or ``odd``
    parity: str = "none"
    #: 1 or 2
    stop_bits: int = 1

    @property
    def character_s(self) -> float:
        """Seconds that one character takes on the wire."""
        return (1 + 8 + (self.parity != "none") + self.stop_bits) / self.baud

    @property
    def frame_gap_s(self) -> float:
        """The silence t3.5 between frames: 3.5 characters of 11 bits, 1.75 ms above 19200 baud."""
        return 0.00175 if self.baud > 19200 else 3.5 * 11 / self.baud


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpLine:
    """An address where a Modbus TCP device or gateway listens."""

    id: str
    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RtuTcpLine:
    """An address where a serial server listens, and the line behind it."""

    kind: ClassVar[str] = "RTU over TCP at"

    id: str
    host: str
    port: int
    settings: LineSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class DtuLine:
    """A DTU that dials an address, and the line behind it."""

    kind: ClassVar[str] = "DTU, dials"

    id: str
    host: str
    port: int
    registration: bytes
    #: empty: none is sent
    heartbeat: bytes
    settings: LineSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialLine:
    """A serial bus; ``path`` becomes a symbolic link to a pseudo terminal."""

    id: str
    path: Path
    settings: LineSettings
    #: a controller of its own asks the devices; the path is that of a tap
    is_owned: bool = False


Line = TcpLine | RtuTcpLine | DtuLine | SerialLine


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantDevice:
    """One device behind a line."""

    id: str
    en: str
    zh: str
    #: id of a line
    line: str
    unit_id: int
    image: DeviceImage
    #: where its outputs are from; None: it has none
    profile: Profile | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """Everything that is simulated."""

    source: str
    lines: tuple[Line, ...]
    devices: Mapping[str, PlantDevice]

    def point_keys(self) -> tuple[str, ...]:
        """Returns every point key, ``device/quantity[/n]``, in the file's order."""
        return tuple(f"{device.id}/{key}" for device in self.devices.values() for key in device.image.points)


def read_plant(path: Path) -> Plant:
    """Reads the plant out of a site file.

    Raises:
        FileError: lists everything that is wrong, each with its key.
    """
    return make_plant(read_toml(path), str(path), path.parent)


def make_plant(data: dict[str, Any], source: str, folder: Path) -> Plant:
    """Makes the plant from a site file's content; relative paths are counted from ``folder``."""
    site = parse(_Site, data, source)
    problems: list[tuple[str, str]] = []
    lines: dict[str, Line] = {}
    for place, port in enumerate(site.port):
        if port.id in lines:
            problems.append((f"port[{place}].id", f"{port.id!r} is used twice"))
        try:
            lines[port.id] = _line(port, folder)
        except ValueError as error:
            problems.append((f"port[{place}]", str(error)))
    devices: dict[str, PlantDevice] = {}
    taken: set[tuple[str, int]] = set()
    extra = [*system_dirs(), *(folder / name for name in site.profile_dirs)]
    for place, device in enumerate(site.device):
        key = f"device[{place}]"
        if device.id in devices:
            problems.append((f"{key}.id", f"{device.id!r} is used twice"))
        if device.port not in lines:
            problems.append((f"{key}.port", f"{device.port!r} is no port; there are {', '.join(lines)}"))
        if (device.port, device.unit_id) in taken:
            problems.append((f"{key}.unit_id", f"{device.unit_id} is used twice on {device.port}"))
        taken.add((device.port, device.unit_id))
        try:
            profile = load_profile(device.profile, extra)
            image = _image(profile, device)
        except ProfileError as error:
            problems += [(f"{key}.profile", str(problem)) for problem in error.problems]
            continue
        except ImageError as error:
            problems.append((key, str(error)))
            continue
        en, zh = (device.name.en, device.name.zh) if device.name is not None else (device.id, device.id)
        devices[device.id] = PlantDevice(
            id=device.id, en=en, zh=zh, line=device.port, unit_id=device.unit_id, image=image, profile=profile
        )
    if problems:
        raise FileError(source, problems)
    return Plant(source=source, lines=tuple(lines.values()), devices=devices)


def _image(profile: Profile, device: _Device) -> DeviceImage:
    units = {name: point.unit for name, point in device.points.items() if point.unit is not None}
    said = {name: point.read for name, point in device.points.items() if point.read is not None}
    read = [name for name, point in profile.all_points.items() if said.get(name, point.default)]
    return DeviceImage(profile, units=units, read=read, serial=device.serial, unit_id=device.unit_id)


def _line(port: _Port, folder: Path) -> Line:
    if isinstance(port, _TcpPort):
        return TcpLine(id=port.id, host=port.host, port=port.port)
    if isinstance(port, _RtuTcpPort):
        return RtuTcpLine(id=port.id, host=port.host, port=port.port, settings=LineSettings(baud=port.baud))
    if isinstance(port, _DtuPort):
        host, _, number = port.listen.rpartition(":")
        return DtuLine(
            id=port.id,
            host=host.removeprefix("[").removesuffix("]"),
            port=int(number),
            registration=_packet("registration", port.registration),
            heartbeat=b"" if port.heartbeat is None else _packet("heartbeat", port.heartbeat),
            settings=LineSettings(baud=port.baud),
        )
    settings = LineSettings(baud=port.baud, parity=port.parity, stop_bits=port.stop_bits)
    return SerialLine(id=port.id, path=folder / port.device, settings=settings, is_owned=port.listen_only)


def _packet(key: str, packet: _DtuPacket) -> bytes:
    """Returns what a DTU sends; raises ValueError where the file does not say it."""
    if packet.text is not None:
        return packet.text.encode()
    if packet.hex is not None:
        return bytes.fromhex(packet.hex)
    if packet.example is None:
        raise ValueError(f"{key}: only a pattern is given; an example that it fits would be right, to be sent")
    return packet.example.encode()
