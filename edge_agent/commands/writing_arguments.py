"""The command lines of ``write-register``, ``number`` and ``replace``."""

from __future__ import annotations

import argparse
from collections.abc import Callable

_PARITIES = ("none", "even", "odd")


def add_writing(
    write: argparse.ArgumentParser, number: argparse.ArgumentParser, replace: argparse.ArgumentParser
) -> None:
    """Gives the three parsers their arguments."""
    address, word = _integer(1, 255), _integer(0, 65535)
    write.add_argument("port", metavar="DEVICE|PORT", help="a device of the site file, or a port with --unit")
    write.add_argument("address", type=word, metavar="ADDRESS", help="on the wire, from 0")
    write.add_argument("values", type=word, nargs="+", metavar="VALUE", help="registers, or coils as 0 and 1")
    write.add_argument("--unit", type=address, metavar="N", help="address of the unit, where a port is named")
    write.add_argument("--table", choices=("holding", "coil"), default="holding")
    functions = "default: 6 or 5 for one value, 16 or 15 for more"
    write.add_argument("--function", type=int, choices=(5, 6, 15, 16), help=functions)
    write.add_argument("--yes", action="store_true", help="do not ask")
    number.add_argument("port", metavar="PORT", help="serial device, or a port of the site file")
    number.add_argument("--profile", required=True, metavar="ID", help="of the new units")
    number.add_argument("--from", dest="first", type=address, required=True, metavar="N", help="first new address")
    number.add_argument("--count", type=address, default=1, metavar="N", help="how many units; default 1")
    number.add_argument("--factory", type=address, metavar="N", help="address of a new unit; default: the profile's")
    number.add_argument("--ask-anyway", action="store_true", help="answers come from a file or a pipe")
    replace.add_argument("device", metavar="DEVICE", help="of the site file")
    replace.add_argument("--serial", required=True, metavar="NUMBER", help="of the unit that hangs there now")
    replace.add_argument("--reason", required=True, metavar="TEXT", help="why the old one went")
    replace.add_argument("--calibrated", metavar="DATE", help="of the new unit, such as 2026-05-04")
    for parser in (write, number):
        parser.add_argument("--baud", type=_integer(300, 4_000_000), metavar="N", help="of a serial device")
        parser.add_argument("--parity", choices=_PARITIES, help="of a serial device")
        parser.add_argument("--stop-bits", type=int, choices=(1, 2), help="of a serial device")
    for parser in (write, number, replace):
        parser.add_argument("--by", required=True, metavar="NAME", help="the person who does it, for the journal")


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text, 0)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {low} to {high}")
        return value

    return parse
