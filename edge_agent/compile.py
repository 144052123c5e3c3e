"""From a site file, device profiles and rule packs to a plan; every error at once.

``edge-agent check`` calls it, and the daemon runs it as a short-lived child, so that neither
pydantic nor a half-read file ever gets into the running process.

    python -m edge_agent.compile FILE --out PLAN [--like RUNNING]

Exit status: 0 with warnings on stderr, 2 with one line per problem on stderr.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from contracts.catalogue import Catalogue
from contracts.envelope import MAX_ENVELOPE, encode_payload
from contracts.errors import ContractError
from contracts.keys import write_atomically
from drivers.build import serial_read
from drivers.errors import ProfileError
from drivers.loader import load_profile, profile_files, profile_hash, profile_ids, system_dir, system_dirs
from drivers.profile import Profile
from edge_agent import __version__
from edge_agent.bus.budget import plan_budgets, unmet
from edge_agent.bus.request_time import LineNeed, line_share
from edge_agent.config import Device, DtuPort, Port, RtuTcpPort, SerialPort, Site, TcpPort, device_key, read_site
from edge_agent.data_files import rules_dir
from edge_agent.errors import ConfigError, EdgeError, PlanError, StateDirError
from edge_agent.plan import Plan
from edge_agent.plan_catalogue import catalogue
from edge_agent.plan_diff import keep_phases
from edge_agent.plan_file import load_plan, state_dir_of, sum_of
from edge_agent.plan_own import OwnPlan
from edge_agent.plan_ports import DevicePlan, PortPlan
from edge_agent.replacements import FILE as REPLACEMENTS
from edge_agent.replacements import Replacement, read_replacements, serial_now
from edge_agent.site_annunciator import plan_annunciator
from edge_agent.site_bursts import SiteBursts
from edge_agent.site_confirmations import finish_rules
from edge_agent.site_points import SitePoints, spread_phases
from edge_agent.site_report import SiteReport
from edge_agent.site_rules import RuleBook
from edge_agent.site_uplink import plan_spool, plan_uplink
from edge_agent.state_dir import unusable

_PARITY = {"none": "N", "even": "E", "odd": "O"}
#: part of a bound -> what it is, and what makes it smaller
_MOST_OF_IT = {
    "interval": "the seconds between two readings",
    "under way": "a request of another device that is under way and its time-out",
    "alarms": "the alarm points that come first, with their time-outs,",
    "ordinary": "ordinary points that are overdue, with their time-outs,",
    "probe": "long probes of a silent device (its profile's max_reply_s)",
    "gap": "the pauses that its device wants between requests",
    "outputs": "the annunciator's writes, with the time-outs of its board,",
    "own": "its own requests",
    "process": "the machine's own needs",
}
_CURES = {
    "interval": "a shorter interval_s",
    "under way": "a shorter timeout_s of that device, a line of its own",
    "alarms": "fewer devices on this line, a shorter timeout_s of them",
    "ordinary": "fewer ordinary points on this line",
    "probe": "a line of its own for that device",
    "gap": "fewer reads of this device",
    "outputs": "a line of its own for the annunciator's board, a shorter timeout_s of it",
    "own": "fewer registers, a faster line",
    "process": "a faster machine",
}
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
    #: whether the site file itself allows that an alarm point can miss its deadline
    allow_overrun: bool = False


def compile_site(path: Path, *, allow_overrun: bool = False) -> Compiled:
    """Compiles a site file.

    Args:
        path: of the file.
        allow_overrun: only warn where an alarm point can miss its deadline; the file can say so too.

    Raises:
        ConfigError: lists everything that is wrong, one line each.
    """
    site, report = read_site(path), SiteReport(path)
    profile_dirs = [*system_dirs(), *_folders("profile_dirs", site.profile_dirs, report)]
    report.add_input(system_dir())
    book = _rule_book(site, report)
    ports = _ports(site, report)
    _check_unique(site, report)
    profiles = _profiles(site, profile_dirs, report)
    replacements = _replacements(path, report)
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
            devices.append(_device(device, profile, place, replacements))
    lines = _lines(ports, devices)
    bursts = SiteBursts(found, book, report).plan(site, profiles, ports, devices)
    annunciator = plan_annunciator(site, profiles, ports, devices, found.blocks, report)
    plan = Plan(
        en=site.gateway.name.en,
        zh=site.gateway.name.zh,
        ports=tuple(ports),
        devices=tuple(devices),
        blocks=tuple(spread_phases(found.blocks, lines)),
        points=finish_rules(found.points, site.confirmation, report),
        uplink=plan_uplink(site.uplink, report),
        spool=plan_spool(site.spool, report),
        inputs=tuple((name, sum_of(name)) for name in report.inputs),
        version=__version__,
        bursts=bursts,
        own=_own(site),
        upkeep=found.upkeep.plan(site, [device.id for device in devices], replacements),
        annunciator=annunciator,
    )
    _check_lines(plan, report)
    _check_deadlines(plan, report, allow_overrun=allow_overrun or site.allow_overrun)
    report.raise_problems()
    _check_catalogue(plan, report)
    report.raise_problems()
    return Compiled(plan=plan, warnings=tuple(dict.fromkeys(report.warnings)), allow_overrun=site.allow_overrun)


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
        made_of = profile_files(id, folders)
        if not made_of:
            known = ", ".join(profile_ids(folders))
            report.problem(f"{device_key(index, device.id)}.profile", f"there is no profile {id!r}; there are {known}")
            continue
        for file in made_of:
            report.add_input(file)
        try:
            found[id] = load_profile(id, folders)
        except ProfileError as error:
            report.add_problems(map(str, error.problems))
    return found


def _ports(site: Site, report: SiteReport) -> list[PortPlan]:
    found: list[PortPlan] = []
    #: what only one port can have -> the port that has it
    owners: dict[tuple[object, ...], str] = {}
    for port in site.port:
        key = f"port[{port.id}]"
        if any(other.id == port.id for other in found):
            report.problem(f"{key}.id", "stands twice; give each port its own id")
            continue
        plan = _port(port, report.folder)
        if isinstance(port, SerialPort) and (owner := owners.setdefault(("line", plan.device), port.id)) != port.id:
            report.problem(f"{key}.device", f"is the line of port {owner!r} already; one port per line")
        if isinstance(port, DtuPort):
            own = (plan.host, plan.port, plan.registration)
            if (owner := owners.setdefault(own, port.id)) != port.id:
                report.problem(f"{key}.registration", f"is that of port {owner!r} already; each DTU needs its own")
        found.append(plan)
    return found


def _port(port: Port, folder: Path) -> PortPlan:
    if isinstance(port, TcpPort):
        return PortPlan(
            id=port.id,
            kind=port.kind,
            host=port.host,
            port=port.port,
            in_flight=port.in_flight,
            gateway_timeout_s=port.gateway_timeout_s,
        )
    if isinstance(port, SerialPort):
        return PortPlan(
            id=port.id,
            kind=port.kind,
            device=str(folder / port.device),
            baud=port.baud,
            parity=_PARITY[port.parity],
            stop_bits=port.stop_bits,
            listen_only=port.listen_only,
            rs485=port.switching,
        )
    # What parity the line behind it has is not known here: the longest character counts.
    far = PortPlan(
        id=port.id,
        kind=port.kind,
        baud=port.baud,
        parity="N",
        stop_bits=2,
        gap_ms=port.gap_ms,
        network_delay_s=port.network_delay_s,
    )
    if isinstance(port, RtuTcpPort):
        return replace(far, host=port.host, port=port.port)
    host, number = port.address
    return replace(
        far,
        host=host,
        port=number,
        registration=port.registration.packet,
        heartbeat=None if port.heartbeat is None else port.heartbeat.packet,
        registration_timeout_s=port.registration_timeout_s,
    )


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
    if port.is_line and not 1 <= device.unit_id <= 247:
        why = "0 is broadcast, which no device answers" if device.unit_id == 0 else "248 to 255 are reserved"
        report.warning(f"{where}.unit_id", f"{device.unit_id}: {why} on a serial line; the standard has 1 to 247")


def _replacements(path: Path, report: SiteReport) -> tuple[Replacement, ...]:
    folder = state_dir_of(path)
    report.add_input(folder / REPLACEMENTS)
    try:
        return read_replacements(folder)
    except StateDirError as error:
        report.problem("gateway.state_dir", str(error))
        return ()


def _own(site: Site) -> OwnPlan:
    host, port = site.metrics.address
    return OwnPlan(
        reload_trial_s=float(site.gateway.reload_trial_s),
        metrics_host=host,
        metrics_port=port,
        card_endurance_bytes=round(site.spool.card_endurance_tb * 1e12),
    )


def _device(device: Device, profile: Profile, place: int, replacements: Sequence[Replacement]) -> DevicePlan:
    names = device.name or profile.names
    return DevicePlan(
        id=device.id,
        en=names.en,
        zh=names.zh,
        port=place,
        unit_id=device.unit_id,
        profile=profile.id,
        profile_hash=profile_hash(profile),
        serial=serial_now(device.id, device.serial, replacements),
        max_reply_s=float(profile.limits.max_reply_s),
        min_request_gap_ms=profile.limits.min_request_gap_ms,
        proved=profile.proved,
        confidence=profile.confidence,
        allow_write=device.allow_write,
        serial_read=serial_read(profile) if device.serial else None,
        timeout_s=device.timeout_s or 0.0,
    )


def line_shares(plan: Plan) -> list[tuple[PortPlan, float]]:
    """Returns for each line that is asked the part of its time that the plan's reads need at least."""
    needs: dict[int, list[LineNeed]] = {}
    for block in plan.blocks:
        device = plan.devices[block.device]
        if plan.ports[device.port].is_line and not plan.ports[device.port].listen_only:
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


def _lines(ports: Sequence[PortPlan], devices: Sequence[DevicePlan]) -> list[int | None]:
    """Returns per device the port whose time it shares with others; None where it has one for itself."""
    users = Counter(device.port for device in devices)
    return [device.port if ports[device.port].is_line or users[device.port] > 1 else None for device in devices]


def _check_deadlines(plan: Plan, report: SiteReport, *, allow_overrun: bool) -> None:
    """No alarm point may be later than its deadline, whoever else on its line is dead."""
    for budget, alarm in unmet(plan_budgets(plan)):
        most = alarm.dominating
        message = (
            f"an alarm can come {alarm.bound_s:.1f} s after its register has changed, {alarm.deadline_s:.4g} s are "
            f"allowed; {_MOST_OF_IT[most.name]} take {most.seconds:.1f} s of it; {_CURES[most.name]}, or a longer "
            f"deadline_s would be right (edge-agent budget shows every part of port {budget.port})"
        )
        numbers = plan.blocks[alarm.block].points
        points = ", ".join(plan.points[number].key for number in numbers if plan.points[number].rules.limits)
        add = report.warning if allow_overrun else report.problem
        add(f"device[{alarm.device}].deadline_s", f"{points}: {message}")


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


def _like(plan: Plan, running: Path) -> Plan:
    try:
        return keep_phases(load_plan(running), plan)
    except PlanError:
        # Gone or of another program: the even spread is right as it is.
        return plan


def main(arguments: Sequence[str] | None = None) -> int:
    """Compiles one file into a plan file; see the module for the exit status."""
    parser = argparse.ArgumentParser(prog="python -m edge_agent.compile")
    parser.add_argument("file", type=Path, help="site file")
    parser.add_argument("--out", type=Path, required=True, help="plan file to write")
    parser.add_argument("--like", type=Path, help="plan file whose phases stay where a block is read as before")
    options = parser.parse_args(arguments)
    try:
        compiled = compile_site(options.file)
        plan = compiled.plan if options.like is None else _like(compiled.plan, options.like)
        try:
            write_atomically(options.out, plan.to_bytes(), mode=0o600)
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
