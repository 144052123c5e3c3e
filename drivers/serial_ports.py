"""Which serial ports this machine has, what they are, and the name that stays: read from /sys and /dev.

It opens no port.  ``ttyUSB0`` is a number that changes at every boot and re-plug, so each port gets the
best stable name: by-id where the adapter has a serial number that no other has, else by-path, which
is the USB socket that it sits in.  Two alike without serial numbers (CH340, PL2303) share one by-id
link, the last enumerated wins.  Roots come through the constructor.

Sources: Linux sysfs (class tty, usb-serial, USB device attributes), udev's 60-serial.rules, usb.ids.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from drivers.port_access import Holders, group_of, holders_of

#: (vendor, product) -> chip, where the driver's name does not tell
_USB_CHIPS: dict[tuple[str, str], str] = {
    ("0403", "6001"): "FTDI FT232R",
    ("0403", "6010"): "FTDI FT2232",
    ("0403", "6011"): "FTDI FT4232",
    ("0403", "6014"): "FTDI FT232H",
    ("0403", "6015"): "FTDI FT231X",
    ("067b", "2303"): "PL2303",
    ("10c4", "ea60"): "CP210x",
    ("10c4", "ea70"): "CP2105",
    ("1a86", "5523"): "CH341",
    ("1a86", "7523"): "CH340",
    ("1a86", "55d3"): "CH343",
    ("1a86", "55d4"): "CH9102",
}
_DRIVER_CHIPS: dict[str, str] = {
    "bcm2835-aux-uart": "mini-UART",
    "cdc_acm": "USB CDC-ACM",
    "ch341": "CH340/CH341",
    "cp210x": "CP210x",
    "ftdi_sio": "FTDI",
    "pl2303": "PL2303",
    "serial": "16550",
    "serial8250": "16550",
    "uart-pl011": "PL011",
}
#: drivers of the kernel's serial core, which sit between a tty and its chip (Linux 6.5 and up)
_CORE_DRIVERS = frozenset({"ctrl", "port"})
#: what the serial core calls a place where no chip was found
_NO_CHIP = "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPort:
    """One serial port of this machine."""

    #: ``/dev/ttyUSB0``; a number that can change
    path: str
    #: the name to write into a configuration
    name: str
    by_id: str | None
    by_path: str | None
    #: kernel driver, ``""`` where none is told
    driver: str
    #: chip in a technician's words, ``""`` where nobody knows it
    chip: str
    #: USB vendor and product as four hexadecimal digits each, ``None`` for what is not USB
    usb_id: tuple[str, str] | None
    #: product text of the adapter
    product: str
    #: serial number of the adapter, ``None`` where it has none
    serial_number: str | None
    #: USB socket (``1-1.2``: bus 1, port 1 of it, port 2 of the hub there), ``None`` for what is not USB
    socket: str | None
    #: who has it open
    holders: Holders
    #: group whose members may open it, ``None`` where no group may
    group: str | None
    #: whether this user may open it
    is_permitted: bool


class SerialPorts:
    """Finds serial ports below roots that a test may choose."""

    def __init__(self, *, dev: Path = Path("/dev"), sys: Path = Path("/sys"), proc: Path = Path("/proc")) -> None:
        self._dev = dev
        self._sys = sys
        self._proc = proc

    def list_ports(self) -> tuple[FoundPort, ...]:
        """Returns the ports in the order of their device names."""
        by_id, by_path = self._links("by-id"), self._links("by-path")
        found = [self._port(name, by_id, by_path) for name in self._ttys()]
        return tuple(replace(port, name=_stable_name(port, found)) for port in found)

    def _ttys(self) -> list[str]:
        """Names of the ttys that have a chip."""
        folder = self._sys / "class/tty"
        try:
            names = sorted(os.listdir(folder), key=_by_number)
        except OSError:
            return []
        return [
            name
            for name in names
            if (folder / name / "device").exists()
            and _text(folder / name / "type") != _NO_CHIP
            and (self._dev / name).exists()
        ]

    def _links(self, kind: str) -> dict[str, str]:
        """Device name -> its link of a kind; of several the shortest."""
        folder = self._dev / "serial" / kind
        try:
            names = sorted(os.listdir(folder), key=lambda name: (-len(name), name))
        except OSError:
            return {}
        return {os.path.basename(os.path.realpath(folder / name)): str(folder / name) for name in names}

    def _port(self, name: str, by_id: dict[str, str], by_path: dict[str, str]) -> FoundPort:
        path = self._dev / name
        device = (self._sys / "class/tty" / name / "device").resolve()
        usb = next((place for place in _upwards(device, self._sys) if (place / "idVendor").exists()), None)
        usb_id = (_text(usb / "idVendor"), _text(usb / "idProduct")) if usb else None
        driver = self._driver(device)
        return FoundPort(
            path=str(path),
            name=str(path),
            by_id=by_id.get(name),
            by_path=by_path.get(name),
            driver=driver,
            chip=_USB_CHIPS.get(usb_id or ("", ""), _DRIVER_CHIPS.get(driver, "")),
            usb_id=usb_id,
            product=_text(usb / "product") if usb else "",
            serial_number=(_text(usb / "serial") or None) if usb else None,
            socket=usb.name if usb else None,
            holders=holders_of(path, proc=self._proc),
            group=group_of(path),
            is_permitted=os.access(path, os.R_OK | os.W_OK),
        )

    def _driver(self, device: Path) -> str:
        for place in _upwards(device, self._sys):
            link = place / "driver"
            if link.exists() and (name := link.resolve().name) not in _CORE_DRIVERS:
                return name
        return ""


def list_ports() -> tuple[FoundPort, ...]:
    """Returns the serial ports of this machine."""
    return SerialPorts().list_ports()


def _stable_name(port: FoundPort, others: list[FoundPort]) -> str:
    is_unique = port.serial_number is not None and not any(
        other.usb_id == port.usb_id and other.serial_number == port.serial_number and other.socket != port.socket
        for other in others
    )
    if port.by_id and is_unique:
        return port.by_id
    return port.by_path or port.path


def _upwards(device: Path, sys: Path) -> Iterator[Path]:
    """The device and what it hangs on, up to the root of the tree."""
    top = sys.resolve()
    for place in (device, *device.parents):
        if place == top:
            return
        yield place


def _by_number(name: str) -> tuple[str, int]:
    digits = name[len(name.rstrip("0123456789")) :]
    return name[: len(name) - len(digits)], int(digits or 0)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
