"""``edge-agent``: the commands of a gateway, and how they end.

Exit status: 0 done, 1 failed, 2 bad input.  A mistake of a person or of the machine is a
sentence on stderr, never a traceback.  What a command needs is imported when it runs, so
that ``run`` with an unchanged plan polls soon.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from edge_agent import __version__
from edge_agent.commands.visit_arguments import add_visit
from edge_agent.commands.words import LANGUAGES, Words, language
from edge_agent.commands.writing_arguments import add_writing
from edge_agent.errors import EdgeError
from edge_agent.plan_file import DEFAULT_CONFIG

#: name -> (module of the command, help)
_COMMANDS = {
    "check": ("check", "compile a site file and tell everything that is wrong / 检查配置"),
    "budget": ("budget", "how late every alarm can be, and what card and link must carry / 时间预算"),
    "run": ("run", "run the agent / 运行采集程序"),
    "reload": ("reload", "let the running agent take the changed site file / 重新加载配置"),
    "read": ("read", "read every point once, or one block of one unit / 读取所有测点，或一段寄存器"),
    "scan": ("scan", "who answers on a serial port, and what it is / 扫描串口与设备"),
    "doctor": ("doctor", "what is likely wrong with a serial line / 线路诊断"),
    "decode": ("decode", "raw words as every type and byte order / 按各种类型和字节序解读"),
    "status": ("status", "how the running agent is / 运行状态"),
    "alarms": ("alarms", "alarms that are active or latched / 当前报警"),
    "alarm": ("alarms", "reset a latched alarm / 复位报警"),
    "rules": ("rules", "check rule packs, explain them, try them on old readings / 报警规则"),
    "inhibit": ("inhibit", "keep a point from alarms while somebody works on it / 检修时抑制报警"),
    "visit": ("visit", "bump test or calibration of one point, and what wants a visit / 通气测试、校准与巡检清单"),
    "annunciator": ("annunciator", "beacon and sounder here: status, proof test, silence / 本地声光报警器"),
    "key": ("key", "this gateway's public key; made where there is none / 网关公钥"),
    "profile": ("profile", "device profiles: list, show, test, new / 设备描述文件"),
    "spool": ("spool", "what is sealed and kept here / 本机已签名数据"),
    "write-register": ("write_register", "write to one device that allows it, and read it back / 写寄存器"),
    "number": ("number", "give addresses to new units, one after the other / 设备编号"),
    "commission": ("commission", "is each point ready: value, unit, and its alarm up to the centre / 投用验收"),
    "replace": ("replace", "accept another unit in the place of a declared one / 更换设备"),
    "bench": ("bench", "what the agent costs on this machine and disk / 本机性能测试"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    options = make_parser().parse_args(arguments)
    words = Words(language(options.lang))
    module = import_module(f"edge_agent.commands.{_COMMANDS[options.command][0]}")
    run: Callable[[argparse.Namespace, Words], int] = module.run
    try:
        status = run(options, words)
        sys.stdout.flush()
        return status
    except EdgeError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        return _system_error(error)


def _system_error(error: OSError) -> int:
    if error.errno == errno.EPIPE:
        # Whoever read our output has gone; nothing is left to say, also not at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    what = f"{error.filename}: " if error.filename else ""
    print(f"{what}{error.strerror or error}", file=sys.stderr)
    return 1


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands."""
    parser = argparse.ArgumentParser(prog="edge-agent", description="Qianshao edge agent / 前哨采集程序")
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--lang", choices=LANGUAGES, help="language of the output; default: the locale's")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    made = {name: commands.add_parser(name, help=text, description=text) for name, (_, text) in _COMMANDS.items()}
    for name in ("check", "budget"):
        made[name].add_argument("file", type=Path, metavar="FILE", help="site file")
        made[name].add_argument("--allow-overrun", action="store_true", help="only warn where an alarm can be too late")
    _add_json(made["budget"])
    for name in ("run", "reload"):
        made[name].add_argument("file", type=Path, metavar="FILE", nargs="?", help="site file; as --config")
    made["run"].add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    _add_config(made["run"])
    for name in ("reload", "read", "status", "alarms", "key", "scan", "doctor", "decode"):
        _add_place(made[name])
    for name in ("read", "status", "alarms", "key", "scan", "doctor", "decode"):
        _add_json(made[name])
    _add_tools(made)
    actions = made["alarm"].add_subparsers(dest="action", required=True, metavar="ACTION")
    reset = actions.add_parser("reset", help="end a latched alarm whose condition is over")
    reset.add_argument("point", metavar="POINT", help="key of the point, as `alarms` shows it")
    reset.add_argument("rule", metavar="RULE", help="id of the rule, as `alarms` shows it")
    reset.add_argument("--by", required=True, metavar="NAME", help="the person who resets it")
    _add_place(reset)
    made["reload"].add_argument("--wait", action="store_true", help="wait for the trial; exit status 1: rolled back")
    _add_inhibit(made["inhibit"])
    add_visit(made["visit"], _number)
    _add_place(made["visit"])
    _add_json(made["visit"])
    _add_annunciator(made["annunciator"])
    _add_rules(made["rules"])
    _add_profile(made["profile"])
    _add_spool(made["spool"])
    add_writing(made["write-register"], made["number"], made["replace"])
    for name in ("write-register", "number", "replace"):
        _add_place(made[name])
    _add_json(made["write-register"])
    _add_bench(made["bench"])
    _add_commission(made["commission"])
    return parser


def _add_commission(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("points", nargs="*", metavar="POINT", help="keys of points; default: every point")
    parser.add_argument("--by", required=True, metavar="NAME", help="the person who does it")
    parser.add_argument(
        "--wait", type=_number(float, 0.1, 300), default=10.0, metavar="S", help="for the receipt; default 10 seconds"
    )
    parser.add_argument(
        "--gas",
        type=_number(float, -1e9, 1e9),
        metavar="N",
        help="a bump test of each named point first, with this gas",
    )
    parser.add_argument(
        "--minutes", type=_number(float, 0.1, 120), default=15.0, metavar="N", help="of a bump test at most; default 15"
    )
    _add_place(parser)
    _add_json(parser)


def _add_inhibit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("point", metavar="POINT", help="key of the point, such as well-1/ch4")
    parser.add_argument("--by", required=True, metavar="NAME", help="the person who works on it")
    parser.add_argument("--reason", default="maintenance", metavar="TEXT", help="calibration, bump test ...")
    parser.add_argument(
        "--minutes", type=_number(float, 0.1, 1440), default=30.0, metavar="N", help="it ends by itself; default 30"
    )
    parser.add_argument("--end", action="store_true", help="end it now")
    _add_place(parser)


def _add_annunciator(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    status = actions.add_parser("status", help="what it shows, each output, and when the next proof test is due")
    _add_place(status)
    _add_json(status)
    test = actions.add_parser("test", help="proof test: switch beacon and sounder on, and record what was seen")
    seconds = _number(float, 1, 120)
    test.add_argument("--seconds", type=seconds, default=5.0, metavar="S", help="it ends by itself; default 5")
    test.add_argument("--seen", choices=("yes", "no"), help="the answer, instead of being asked")
    silence = actions.add_parser("silence", help="the sounder is off until the next new alarm; the beacon stays")
    for action in (test, silence):
        action.add_argument("--by", required=True, metavar="NAME", help="the person who does it, for the journal")
        _add_place(action)


def _add_rules(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    checked = actions.add_parser("check", help="everything that is wrong with rule packs")
    checked.add_argument("files", type=Path, nargs="*", metavar="FILE", help="packs or directories; default: shipped")
    for name, text in (
        ("explain", "what a pack, or the rules of a point, do"),
        ("replay", "what they would have raised on old readings"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("name", metavar="PACK|POINT", help="id or file of a pack, or a point of the site file")
        action.add_argument("--dir", type=Path, action="append", default=[], metavar="DIR", help="further packs")
        _add_config(action)
        if name == "replay":
            action.add_argument(
                "readings", type=Path, metavar="FILE", help="CSV: time,value,quality; or `spool export`"
            )
            action.add_argument("--point", metavar="POINT", help="of several in the file")
            _add_json(action)


def _add_bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--devices", type=_number(int, 1, 200), default=10, metavar="N", help="1 to 200; default 10")
    parser.add_argument(
        "--interval", type=_number(float, 0.1, 60), default=1.0, metavar="S", help="seconds between polls; default 1"
    )
    parser.add_argument(
        "--seconds", type=_number(float, 1, 3600), default=20.0, metavar="S", help="length of the window; default 20"
    )
    parser.add_argument("--dir", type=Path, metavar="DIR", help="on the disk to be measured; default: temporary files")
    _add_json(parser)


def _number(kind: Callable[[str], float], low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not from {low:g} to {high:g}")
        return value

    return parse


def _add_tools(made: dict[str, argparse.ArgumentParser]) -> None:
    port = "id in the site file, a serial device, or HOST:PORT"
    made["read"].add_argument("port", metavar="PORT", nargs="?", help=f"read one block here: {port}")
    made["scan"].add_argument("port", metavar="PORT", nargs="?", help="id in the site file or a serial device")
    made["scan"].add_argument("--bauds", type=_bauds, metavar="N,N", help="baud rates to try, likeliest first")
    made["scan"].add_argument("--slow", action="store_true", help="give the silent ones 1.1 s each instead of 0.3 s")
    made["scan"].add_argument(
        "--all-settings", action="store_true", help="try every baud rate and parity although somebody answers with one"
    )
    made["scan"].add_argument("--resume", action="store_true", help="go on with the scan that was stopped")
    made["doctor"].add_argument("port", metavar="PORT", help="id in the site file or a serial device")
    made["doctor"].add_argument("--unit", type=_number(int, 1, 255), metavar="N", help="unit that should be there")
    made["decode"].add_argument("words", metavar="WORD", nargs="*", help="0x4088, 4088h or 16520")
    made["decode"].add_argument("--hex", action="store_true", help="words without a prefix are hexadecimal")
    made["decode"].add_argument("--type", metavar="TYPE", help="only this type: u16, i32, f32 ...")
    made["decode"].add_argument("--order", metavar="ORDER", help="only this byte order: ABCD, CDAB ...")
    made["decode"].add_argument("--expect", metavar="NUMBER", help="what the instrument shows; what agrees comes first")
    made["decode"].add_argument("--string", action="store_true", help="as text too")
    made["decode"].add_argument("--from", dest="source", metavar="PORT", help=f"read the words now: {port}")
    for name in ("read", "decode"):
        _add_block(made[name])
    for name in ("read", "scan", "doctor", "decode"):
        made[name].add_argument(
            "--baud", type=_number(int, 300, 4_000_000), metavar="N", help="default: as the port has"
        )
        made[name].add_argument("--parity", choices=("none", "even", "odd"), help="default: as the port has")
        made[name].add_argument("--stop-bits", type=int, choices=(1, 2), help="default: as the port has")


def _add_block(parser: argparse.ArgumentParser) -> None:
    tables = ("holding", "input", "coil", "discrete")
    parser.add_argument("--unit", type=_number(int, 0, 255), metavar="N", help="address of the unit")
    parser.add_argument("--table", choices=tables, default="holding", help="default: holding")
    parser.add_argument(
        "--address", type=_number(_integer, 0, 65535), default=0, metavar="A", help="on the wire, from 0"
    )
    parser.add_argument(
        "--count", type=_number(int, 1, 2000), default=1, metavar="C", help="registers or bits; default 1"
    )
    parser.add_argument(
        "--timeout", type=_number(float, 0.01, 20), default=0.5, metavar="S", help="seconds; default 0.5"
    )


def _integer(text: str) -> int:
    return int(text, 0)


def _bauds(text: str) -> tuple[int, ...]:
    parse = _number(int, 300, 4_000_000)
    return tuple(int(parse(part)) for part in text.split(",") if part.strip())


def _add_profile(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listed = actions.add_parser("list", help="every device that is known")
    listed.add_argument("--kind", metavar="KIND", help="gas, pressure, level, acceleration, io ...")
    shown = actions.add_parser("show", help="one profile in full, with what was never proved")
    shown.add_argument("profile", metavar="PROFILE", help="id, or a file")
    tested = actions.add_parser("test", help="check a file, run its examples, and read a real unit once")
    tested.add_argument("profile", metavar="FILE", help="file, or the id of a profile")
    tested.add_argument("--port", metavar="PORT", help="serial device, HOST:PORT, or a port of the running agent")
    tested.add_argument("--unit", type=_number(int, 1, 255), metavar="N", help="address of the unit")
    tested.add_argument("--baud", type=_number(int, 300, 4_000_000), metavar="N", help="default: as the profile says")
    tested.add_argument("--parity", choices=("none", "even", "odd"), help="default: as the profile says")
    tested.add_argument("--stop-bits", type=int, choices=(1, 2), help="default: as the profile says")
    tested.add_argument("--trigger", action="store_true", help="allow the writes that make the device measure")
    _add_place(tested)
    for action in (listed, shown, tested):
        action.add_argument("--dir", type=Path, action="append", default=[], metavar="DIR", help="further profiles")
    for action in (listed, shown):
        _add_json(action)
    begun = actions.add_parser("new", help="write a file to begin with")
    begun.add_argument("id", metavar="ID", help="small letters, digits and hyphens; the name of the file")
    kinds = ("gas", "pressure", "level", "acceleration", "temperature", "flow", "io", "other")
    begun.add_argument("--kind", choices=kinds, default="other")
    begun.add_argument("--dir", type=Path, metavar="DIR", help="where to; default: the gateway's own profiles")


def _add_spool(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in (
        ("status", "how much is kept and what is not yet delivered"),
        ("list", "epochs and lanes with their batches"),
        ("export", "readings and events as JSON lines"),
        ("verify", "check every signature and every chain"),
    ):
        action = actions.add_parser(name, help=text)
        _add_place(action)
        if name != "export":
            _add_json(action)
    salvage = actions.add_parser("salvage", help="bring back what a damaged spool still proves; the file is only read")
    salvage.add_argument("damaged", type=Path, metavar="FILE", help="as `spool status` lists it")
    salvage.add_argument("--into", type=Path, metavar="DIR", help="only write the recovered batches to a file there")
    salvage.add_argument("--all", action="store_true", help="also what the file says was delivered")
    _add_place(salvage)
    _add_json(salvage)


def _add_config(parser: argparse.ArgumentParser) -> None:
    default = Path(os.environ.get("QIANSHAO_CONFIG") or DEFAULT_CONFIG)
    parser.add_argument(
        "--config", type=Path, metavar="FILE", default=default, help=f"site file; default: {default} (QIANSHAO_CONFIG)"
    )


def _add_place(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help="state directory; default: as the site file says")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="JSON for programs")


if __name__ == "__main__":
    sys.exit(main())
