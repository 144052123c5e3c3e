"""The command ``simulator``: run a plant, change it while it runs, or play the whole demo.

Exit status: 0 done, 1 failed while running, 2 bad input.  Errors are sentences on standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simulators.errors import ControlError, DemoError, FileError, ImageError, PortInUse, SimulatorError

DONE, FAILED, BAD_INPUT = 0, 1, 2
#: where the demo's simulator and a plain one put their sockets, counted from the working directory
CONTROL_PATHS = (".demo/simulator.sock", "simulator.sock")


def default_control(environment: Mapping[str, str] = os.environ, here: Path | None = None) -> Path:
    """Returns the socket to use when none is named: SIMULATOR_CONTROL, or one that is here already."""
    named = environment.get("SIMULATOR_CONTROL")
    if named:
        return Path(named)
    folder = Path() if here is None else here
    return next((folder / name for name in CONTROL_PATHS if (folder / name).exists()), folder / CONTROL_PATHS[-1])


def parse_value(text: str) -> float | int | str:
    """Returns a number where the text is one, else the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def parse_link(text: str) -> tuple[int, int]:
    """Returns (listen port, broker port) of ``LISTEN:BROKER``; raises SimulatorError."""
    first, _, second = text.partition(":")
    if not (first.isdigit() and second.isdigit() and 0 < int(first) < 65536 and 0 < int(second) < 65536):
        raise SimulatorError(
            f"--link {text!r} has another form; LISTEN_PORT:BROKER_PORT, such as 1884:1883, would be right"
        )
    return int(first), int(second)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except DemoError as error:
        print(f"simulator: {error}", file=sys.stderr)
        return error.status
    except (FileError, ImageError, PortInUse) as error:
        print(error if isinstance(error, FileError) else f"simulator: {error}", file=sys.stderr)
        return BAD_INPUT
    except ControlError as error:
        print(f"simulator: {error}", file=sys.stderr)
        return FAILED
    except SimulatorError as error:
        print(f"simulator: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="simulator", description="Simulated sensors, buses, links and faults.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = _command(commands, "run", _run, "simulate the ports and devices of a site file")
    run.add_argument("plant", type=Path, metavar="PLANT", help="a site file; config/sites/demo.toml is one")
    run.add_argument(
        "--scenario", metavar="NAME[,NAME...]", help="what to play (default: calm, where the plant has its points)"
    )
    run.add_argument(
        "--link", metavar="LISTEN:BROKER", help="also pass LISTEN on to the broker's port, to be cut and slowed"
    )
    _add_scenario_dir(run)
    _add_control(run)

    change = _command(commands, "set", _set, "set what a point shows: a number, a state, or auto")
    change.add_argument("point", metavar="DEVICE/POINT")
    change.add_argument("value", metavar="VALUE")
    _add_control(change)

    fault = _command(
        commands, "fault", _fault, "switch a fault: dead late wrong_crc exception frozen wrong_unit; none ends all"
    )
    fault.add_argument("device", metavar="DEVICE")
    fault.add_argument("kind", metavar="KIND")
    fault.add_argument("--off", action="store_true", help="switch it off")
    fault.add_argument("--delay", type=float, metavar="SECONDS", help="of late")
    fault.add_argument("--code", type=int, metavar="N", help="of exception")
    _add_control(fault)

    link = _command(commands, "link", _link, "cut, stall, slow or restore the link to the broker")
    link.add_argument("state", choices=("cut", "restore", "stall", "slow", "status"))
    link.add_argument("bytes_per_s", nargs="?", type=int, metavar="BYTES_PER_S", help="of slow")
    _add_control(link)

    play = _command(commands, "scenario", _scenario, "play another scenario, or several, one after the other")
    play.add_argument("name", metavar="NAME[,NAME...]")
    _add_control(play)

    status = _command(commands, "status", _status, "what every device shows, and what has been asked of it")
    status.add_argument("--json", action="store_true")
    _add_control(status)

    listing = _command(commands, "list", _list, "the scenarios there are")
    _add_scenario_dir(listing)

    bank = _command(commands, "tcp-bank", _bank, "many plain TCP devices in one cheap process, for measurements")
    bank.add_argument("--devices", type=int, default=10)
    bank.add_argument("--registers", type=int, default=20)
    bank.add_argument("--port", type=int, required=True)

    _command(commands, "demo", _demo, "simulator, collector and agent together, on one web page")
    return parser


def _command(commands: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    return parser


def _add_control(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--control", type=Path, default=None, metavar="SOCKET", help="the simulator's control socket")


def _add_scenario_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scenario-dir", type=Path, default=None, metavar="DIR", help="where scenarios are")


def _folder(options: argparse.Namespace) -> Path:
    from simulators.scenario import scenarios_dir

    given: Path | None = options.scenario_dir
    return scenarios_dir() if given is None else given


def _run(options: argparse.Namespace) -> int:
    from simulators.app import Simulator, run_until_signal
    from simulators.link_proxy import LinkProxy
    from simulators.plant import read_plant
    from simulators.scenario import load_scenario, scenario_problems

    plant = read_plant(options.plant)
    folder = _folder(options)
    if options.scenario is not None:
        scenarios = [load_scenario(name.strip(), folder) for name in options.scenario.split(",")]
    else:
        calm = load_scenario("calm", folder)
        scenarios = [] if scenario_problems(calm, plant) else [calm]
    link = None
    if options.link is not None:
        listen_port, broker_port = parse_link(options.link)
        link = LinkProxy("127.0.0.1", listen_port, "127.0.0.1", broker_port)
    control = options.control or default_control()
    simulator = Simulator(plant, scenarios=scenarios, scenario_folder=folder, control=control, link=link)

    async def serve() -> None:
        ready = asyncio.Event()
        serving = asyncio.create_task(run_until_signal(simulator, ready))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if ready.is_set():
            print(f"ready: {len(plant.devices)} devices; control socket {control}", flush=True)
            for bus in simulator.buses:
                print(f"  {bus.line.id}: {bus.line.path} -> {bus.device}", flush=True)
            for server in simulator.tcp:
                print(f"  {server.line.id}: {server.line.host}:{server.port}", flush=True)
            for far in simulator.far:
                print(f"  {far.line.id}: {far.line.kind} {far.line.host}:{far.line.port}", flush=True)
        await serving

    asyncio.run(serve())
    return DONE


def _ask(options: argparse.Namespace, request: dict[str, Any]) -> dict[str, Any]:
    from simulators.control import ask

    return ask(options.control or default_control(), request)


def _set(options: argparse.Namespace) -> int:
    found = _ask(options, {"op": "set", "point": options.point, "value": parse_value(options.value)})
    print(f"{found['point']}: {found['shows']}")
    return DONE


def _fault(options: argparse.Namespace) -> int:
    request = {"op": "fault", "device": options.device, "kind": options.kind, "on": not options.off}
    request |= {key: value for key, value in (("delay_s", options.delay), ("code", options.code)) if value is not None}
    found = _ask(options, request)
    print(f"{found['device']}: {', '.join(found['faults']) or 'no fault'}")
    return DONE


def _link(options: argparse.Namespace) -> int:
    if (options.state == "slow") != (options.bytes_per_s is not None):
        raise SimulatorError("'link slow' needs its bytes per second, such as 'link slow 2000'; the others take none")
    state = "up" if options.state == "restore" else options.state
    request = {"op": "link", "state": state}
    if options.bytes_per_s is not None:
        request["bytes_per_s"] = options.bytes_per_s
    found = _ask(options, request)
    rate = f" at {found['bytes_per_s']} bytes/s" if found["state"] == "slow" else ""
    passed = f"{found['bytes_up']} bytes up, {found['bytes_down']} down"
    print(f"link: {found['state']}{rate}; {found['connections']} open, {passed}")
    return DONE


def _scenario(options: argparse.Namespace) -> int:
    found = _ask(options, {"op": "scenario", "name": options.name})
    print(f"{found['scenario']}: {found['en']} / {found['zh']}")
    return DONE


def _status(options: argparse.Namespace) -> int:
    found = _ask(options, {"op": "status"})
    if options.json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
        return DONE
    if found["scenario"] is not None:
        print(f"{found['scenario']} ({found['en']} / {found['zh']}), {found['since_s']} s")
    for name, device in found["devices"].items():
        faults = f"  [{', '.join(device['faults'])}]" if device["faults"] else ""
        print(f"{name}: {device['requests']} requests, {device['replies']} replies{faults}")
        for point, shows in device["shows"].items():
            print(f"    {point} = {shows if isinstance(shows, str) else format(shows, '.4g')}")
    return DONE


def _list(options: argparse.Namespace) -> int:
    from simulators.scenario import load_scenario, scenario_ids

    folder = _folder(options)
    for id in scenario_ids(folder):
        scenario = load_scenario(id, folder)
        print(f"{id:20} {scenario.en} / {scenario.zh}, {scenario.duration_s:g} s")
        print(f"{'':20} {scenario.about_en} {scenario.about_zh}")
    return DONE


def _bank(options: argparse.Namespace) -> int:
    from simulators.tcp_bank import run_bank

    asyncio.run(run_bank(devices=options.devices, registers=options.registers, port=options.port))
    return DONE


def _demo(_: argparse.Namespace) -> int:
    from simulators.demo import run_demo

    return run_demo(os.environ)


if __name__ == "__main__":
    sys.exit(main())
