"""Bytes that went over an interface, as its own counters tell: what the operator's bill is about.

Everything that uses the interface counts, not only this agent: a system update spends the same allowance.  Sources:
``/sys/class/net/IF/statistics`` (kernel document ABI/testing/sysfs-class-net-statistics), ``/proc/net/route`` and
``/proc/net/ipv6_route`` (the tables that route(8) prints).  Only the main routing table is looked at; where
policy routing sends the broker's packets elsewhere the site file names the interface.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from pathlib import Path

_SYS = Path("/sys")
_PROC_NET = Path("/proc/self/net")
_UP = 0x1


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What an interface has carried since it came up."""

    received: int
    sent: int


def read_counters(interface: str, sys: Path = _SYS) -> Counters | None:
    """Returns an interface's byte counters; None where there is no such interface now."""
    folder = sys / "class" / "net" / interface / "statistics"
    try:
        received, sent = (int((folder / name).read_text()) for name in ("rx_bytes", "tx_bytes"))
    except (OSError, ValueError):
        return None
    return Counters(received=received, sent=sent)


def interface_to(address: str, net: Path = _PROC_NET) -> str | None:
    """Returns the interface that packets to an IP address leave by; None where no route is known.

    Args:
        address: of the broker, IPv4 or IPv6; a zone (``%eth0``) names the interface itself.
        net: folder of the kernel's tables.
    """
    address, _, zone = address.partition("%")
    if zone:
        return zone
    try:
        wanted = ip_address(address)
    except ValueError:
        return None
    mapped = getattr(wanted, "ipv4_mapped", None)
    wanted = mapped or wanted
    if wanted.is_loopback:
        return "lo"
    found = _routes4(net) if isinstance(wanted, IPv4Address) else _routes6(net)
    number = int(wanted)
    fitting = [route for route in found if number & route.mask == route.target]
    best = max(fitting, key=lambda route: (route.mask, -route.metric), default=None)
    return None if best is None else best.interface


@dataclass(frozen=True, slots=True)
class _Route:
    interface: str
    target: int
    mask: int
    metric: int


def _routes4(net: Path) -> list[_Route]:
    found = []
    for line in _lines(net / "route")[1:]:
        words = line.split()
        try:
            # Addresses are printed as the machine keeps them; every machine of ours is little-endian.
            target, mask = (int.from_bytes(bytes.fromhex(words[at])[::-1]) for at in (1, 7))
            flags, metric = int(words[3], 16), int(words[6])
        except (IndexError, ValueError):
            continue
        if flags & _UP:
            found.append(_Route(words[0], target, mask, metric))
    return found


def _routes6(net: Path) -> list[_Route]:
    found = []
    for line in _lines(net / "ipv6_route"):
        words = line.split()
        try:
            target, length = int(words[0], 16), int(words[1], 16)
            metric, flags, interface = int(words[5], 16), int(words[8], 16), words[9]
        except (IndexError, ValueError):
            continue
        if flags & _UP:
            mask = ((1 << length) - 1) << (128 - length) if length else 0
            found.append(_Route(interface, target, mask, metric))
    return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
