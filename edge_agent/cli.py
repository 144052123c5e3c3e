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
from edge_agent.commands.words import LANGUAGES, Words, language
from edge_agent.errors import EdgeError
from edge_agent.plan_file import DEFAULT_CONFIG

#: name -> (module of the command, help)
_COMMANDS = {
    "check": ("check", "compile a site file and tell everything that is wrong / 检查配置"),
    "run": ("run", "run the agent / 运行采集程序"),
    "reload": ("reload", "let the running agent take the changed site file / 重新加载配置"),
    "read": ("read", "read every point once / 读取所有测点"),
    "status": ("status", "how the running agent is / 运行状态"),
    "alarms": ("alarms", "alarms that are active or latched / 当前报警"),
    "alarm": ("alarms", "reset a latched alarm / 复位报警"),
    "key": ("key", "this gateway's public key; made where there is none / 网关公钥"),
    "spool": ("spool", "what is sealed and kept here / 本机已签名数据"),
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
    made["check"].add_argument("file", type=Path, metavar="FILE", help="site file")
    for name in ("run", "reload"):
        made[name].add_argument("file", type=Path, metavar="FILE", nargs="?", help="site file; as --config")
    made["run"].add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    _add_config(made["run"])
    for name in ("reload", "read", "status", "alarms", "key"):
        _add_place(made[name])
    for name in ("read", "status", "alarms", "key"):
        _add_json(made[name])
    actions = made["alarm"].add_subparsers(dest="action", required=True, metavar="ACTION")
    reset = actions.add_parser("reset", help="end a latched alarm whose condition is over")
    reset.add_argument("point", metavar="POINT", help="key of the point, as `alarms` shows it")
    reset.add_argument("rule", metavar="RULE", help="id of the rule, as `alarms` shows it")
    reset.add_argument("--by", required=True, metavar="NAME", help="the person who resets it")
    _add_place(reset)
    _add_spool(made["spool"])
    _add_bench(made["bench"])
    return parser


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
