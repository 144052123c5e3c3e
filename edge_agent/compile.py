"""From a site file, device profiles and rule packs to a plan; every error at once.

``edge-agent check`` calls it, and the daemon runs it as a short-lived child, so that neither
pydantic nor a half-read file ever gets into the running process.

    python -m edge_agent.compile FILE --out PLAN

Exit status: 0 with warnings on stderr, 2 with one line per problem on stderr.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from contracts.catalogue import Catalogue
from contracts.envelope import MAX_ENVELOPE, encode_payload
from contracts.errors import ContractError
from contracts.keys import write_atomically
from drivers.errors import ProfileError
from drivers.loader import load_profile, profile_hash
from drivers.profile import Profile
from edge_agent import __version__
from edge_agent.config import Device, SerialPort, Site, device_key, read_site
from edge_agent.data_files import rules_dir
from edge_agent.errors import ConfigError, EdgeError
from edge_agent.line_load import LineNeed, line_share
from edge_agent.plan import DevicePlan, Plan, PortPlan, catalogue
from edge_agent.plan_file import sum_of
from edge_agent.site_points import SitePoints, spread_phases
from edge_agent.site_report import SiteReport
from edge_agent.site_rules import RuleBook
from edge_agent.site_uplink import plan_spool, plan_uplink
from edge_agent.state_dir import unusable

_PARITY = {"none": "N", "even": "E", "odd": "O"}
#: what an envelope needs beside its payload (bytes)
_ENVELOPE_EXTRA = 128
#: any gateway's id has this length
_SOME_GATEWAY = "g-aaaaaaaaaaaa"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A plan, and what a person should know before it runs."""

    plan: Plan
    #: one line each, like problems
    warnings: tuple[str, ...]


def compile_site(path: Path) -> Compiled:
    """Compiles a site file.

    Raises:
        ConfigError: lists everything that is wrong, one line each.
    """
    site, report = read_site(path), SiteReport(path)
    profile_dirs = _folders("profile_dirs", site.profile_dirs, report)
    book = _rule_book(site, report)
    ports = _ports(site, report)
    _check_unique(site, report)
    profiles = _profiles(site, profile_dirs, report)
    devices: list[DevicePlan] = []
    found = SitePoints(book, report)
    places = {port.id: place for place, port in enumerate(ports)}
    for index, device in enumerate(site.device):
        where = device_key(index, device.id)
        place, profile = places.get(device.port), profiles.get(device.profile)
        if place is None:
            report.problem(f"{where}.port", f"there is no port {device.port!r}; there are {', '.join(places)}")
        if place is not None:
            _check_unit_id(device, ports[place], where, report)
        if place is not None and profile is not None:
            found.add_device(device, profile, len(devices), where)
            devices.append(_device(device, profile, place))
    lines = [device.port if ports[device.port].kind == "serial" else None for device in devices]
    plan = Plan(
        en=site.gateway.name.en,
        zh=site.gateway.name.zh,
        ports=tuple(ports),
        devices=tuple(devices),
        blocks=tuple(spread_phases(found.blocks, lines)),
        points=tuple(found.points),
        uplink=plan_uplink(site.uplink, report),
        spool=plan_spool(site.spool, report),
        inputs=tuple((name, sum_of(name)) for name in report.inputs),
        version=__version__,
    )
    _check_lines(plan, report)
    report.raise_problems()
    _check_catalogue(plan, report)
    report.raise_problems()
    return Compiled(plan=plan, warnings=tuple(dict.fromkeys(report.warnings)))


def _folders(key: str, names: Sequence[str], report: SiteReport) -> list[Path]:
    found = []
    for name in names:
        folder = report.folder / name
        report.add_input(folder)
        if folder.is_dir():
            found.append(folder)
        else:
            report.problem(key, f"{name!r} is no directory; one that is there would be right")
    return found


def _rule_book(site: Site, report: SiteReport) -> RuleBook:
    folders = _folders("rule_dirs", site.rule_dirs, report)
    try:
        folders.insert(0, rules_dir())
    except ConfigError as error:
        report.add_problems(error.problems)
    book = RuleBook.read(folders, report.problems)
    for path in (*folders, *book.files):
        report.add_input(path)
    return book


def _profiles(site: Site, folders: Sequence[Path], report: SiteReport) -> dict[str, Profile]:
    found: dict[str, Profile] = {}
    for index, device in enumerate(site.device):
        id = device.profile
        if id in found:
            continue
        file = _profile_file(id, folders)
        if file is None:
            known = ", ".join(_profile_ids(folders))
            report.problem(f"{device_key(index, device.id)}.profile", f"there is no profile {id!r}; there are {known}")
            continue
        report.add_input(file)
        try:
            found[id] = load_profile(id, folders)
        except ProfileError as error:
            report.add_problems(map(str, error.problems))
    return found


def _profile_dirs(folders: Sequence[Path]) -> list[Path]:
    """Where profiles are sought, the winner first."""
    return [*reversed(folders), Path(str(files("drivers").joinpath("profiles")))]


def _profile_ids(folders: Sequence[Path]) -> list[str]:
    return sorted({path.stem for folder in _profile_dirs(folders) for path in folder.glob("*.toml")})


def _profile_file(id: str, folders: Sequence[Path]) -> Path | None:
    if "/" in id or id in ("", ".", ".."):
        return None
    return next((folder / f"{id}.toml" for folder in _profile_dirs(folders) if (folder / f"{id}.toml").is_file()), None)


def _ports(site: Site, report: SiteReport) -> list[PortPlan]:
    found: list[PortPlan] = []
    lines: dict[str, str] = {}
    for port in site.port:
        key = f"port[{port.id}]"
        if any(other.id == port.id for other in found):
            report.problem(f"{key}.id", "stands twice; give each port its own id")
        elif not isinstance(port, SerialPort):
            found.append(PortPlan(id=port.id, kind="tcp", host=port.host, port=port.port))
        else:
            device = str(report.folder / port.device)
            if device in lines:
                report.problem(f"{key}.device", f"is the line of port {lines[device]!r} already; one port per line")
            lines[device] = port.id
            parity = _PARITY[port.parity]
            found.append(
                PortPlan(
                    id=port.id, kind="serial", device=device, baud=port.baud, parity=parity, stop_bits=port.stop_bits
                )
            )
    return found


def _check_unique(site: Site, report: SiteReport) -> None:
    ids: set[str] = set()
    units: dict[tuple[str, int], str] = {}
    for index, device in enumerate(site.device):
        where = device_key(index, device.id)
        if device.id in ids:
            report.problem(f"{where}.id", "stands twice; give each device its own id")
        ids.add(device.id)
        other = units.setdefault((device.port, device.unit_id), device.id)
        if other != device.id:
            message = f"{device.unit_id} on port {device.port!r} is {other!r} already; one device per unit id"
            report.problem(f"{where}.unit_id", message)


def _check_unit_id(device: Device, port: PortPlan, where: str, report: SiteReport) -> None:
    if port.kind == "serial" and not 1 <= device.unit_id <= 247:
        why = "0 is broadcast, which no device answers" if device.unit_id == 0 else "248 to 255 are reserved"
        report.warning(f"{where}.unit_id", f"{device.unit_id}: {why} on a serial line; the standard has 1 to 247")


def _device(device: Device, profile: Profile, place: int) -> DevicePlan:
    names = device.name or profile.names
    return DevicePlan(
        id=device.id,
        en=names.en,
        zh=names.zh,
        port=place,
        unit_id=device.unit_id,
        profile=profile.id,
        profile_hash=profile_hash(profile),
        serial=device.serial,
        max_reply_s=float(profile.limits.max_reply_s),
        min_request_gap_ms=profile.limits.min_request_gap_ms,
    )


def line_shares(plan: Plan) -> list[tuple[PortPlan, float]]:
    """Returns for each serial port the part of its time that the plan's reads need at least."""
    needs: dict[int, list[LineNeed]] = {}
    for block in plan.blocks:
        device = plan.devices[block.device]
        if plan.ports[device.port].kind == "serial":
            need = LineNeed(
                read=block.read, interval_ms=block.interval_ms, min_request_gap_ms=device.min_request_gap_ms
            )
            needs.setdefault(device.port, []).append(need)
    return [(plan.ports[place], line_share(plan.ports[place], own)) for place, own in sorted(needs.items())]


def _check_lines(plan: Plan, report: SiteReport) -> None:
    for port, share in line_shares(plan):
        if share > 1:
            message = (
                f"its reads need {share:.0%} of the line's time at {port.baud} baud, frames and silences alone; "
                "longer intervals, fewer points or a faster line would be right"
            )
            report.problem(f"port[{port.id}]", message)


def _check_catalogue(plan: Plan, report: SiteReport) -> None:
    """The plan must be explainable to a collector: every field within its limit, all in one envelope."""
    document = catalogue(plan, _SOME_GATEWAY)
    try:
        Catalogue.from_body(document.body)
    except ContractError as error:
        report.problem("device", f"these points do not fit a catalogue: {error}")
        return
    size, most = len(encode_payload(document.body)), MAX_ENVELOPE - _ENVELOPE_EXTRA
    if size > most:
        message = f"the catalogue of {len(plan.points)} points has {size} bytes; at most {most} would be right"
        report.problem("device", message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compiles one file into a plan file; see the module for the exit status."""
    parser = argparse.ArgumentParser(prog="python -m edge_agent.compile")
    parser.add_argument("file", type=Path, help="site file")
    parser.add_argument("--out", type=Path, required=True, help="plan file to write")
    options = parser.parse_args(arguments)
    try:
        compiled = compile_site(options.file)
        try:
            write_atomically(options.out, compiled.plan.to_bytes(), mode=0o600)
        except OSError as error:
            raise unusable(options.out, error) from error
    except EdgeError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    for line in compiled.warnings:
        print(line, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
