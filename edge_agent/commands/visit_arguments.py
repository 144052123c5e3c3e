"""The arguments of ``edge-agent visit``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any


def add_visit(parser: argparse.ArgumentParser, number: Callable[..., Any]) -> None:
    """Adds what a visit takes.

    Args:
        number: makes the type of a number between two bounds.
    """
    parser.add_argument("point", nargs="?", metavar="POINT", help="key of the point, such as well-1/ch4")
    parser.add_argument("--by", metavar="NAME", help="the person; the record is signed under it")
    parser.add_argument("--job", choices=("bump", "calibration"), default="bump", help="default: bump")
    parser.add_argument(
        "--gas", type=number(float, -1e9, 1e9), metavar="N", help="value of the gas, in the point's unit"
    )
    parser.add_argument(
        "--minutes",
        type=number(float, 0.1, 120),
        default=15.0,
        metavar="N",
        help="at most; it ends by itself; default 15",
    )
    parser.add_argument(
        "--deviation",
        type=number(float, 1, 99),
        metavar="PERCENT",
        help="how far the answer may be from the gas; default 20",
    )
    parser.add_argument("--note", default="", metavar="TEXT", help="goes into the record: number of the bottle ...")
    parser.add_argument("--end", action="store_true", help="give up the visit that runs there")
    parser.add_argument("--list", action="store_true", help="which points want a visit, by street, and what to bring")
    parser.add_argument("--street", metavar="TEXT", help="with --list: only this street")
    parser.add_argument("--all", action="store_true", help="with --list: also every due date there is")
