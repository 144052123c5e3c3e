"""The plan on disk: loaded when nothing it was made from changed, else compiled by a child.

The child (``python -m edge_agent.compile``) is short-lived, so that the daemon never holds
pydantic in memory.  This module imports nothing of it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

from edge_agent import __version__
from edge_agent.errors import ConfigError, EdgeError, PlanError
from edge_agent.plan import Plan, inputs_of
from edge_agent.state_dir import unusable

_LOG = logging.getLogger(__name__)

#: where a site file is sought when none is named
DEFAULT_CONFIG = Path("/etc/qianshao/agent.toml")
#: where state is kept when neither the site file nor systemd says
DEFAULT_STATE_DIR = Path("/var/lib/qianshao-agent")
_COMPILE_TIMEOUT_S = 120.0


def sum_of(path: str) -> bytes:
    """Returns the SHA-256 of a file, or of a directory's list of TOML files; empty where there is none.

    A directory counts because a new profile in it can take the place of a shipped one.
    """
    try:
        if os.path.isdir(path):
            names = sorted(name for name in os.listdir(path) if name.endswith(".toml"))
            return hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape")).digest()
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return b""


def is_current(data: bytes) -> bool:
    """Returns whether a stored plan is of this program and of its inputs as they now are.

    Raises:
        PlanError: no plan, damaged, or of another format.
    """
    version, inputs = inputs_of(data)
    return version == __version__ and all(sum_of(path) == known for path, known in inputs)


def state_dir_of(config_path: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """Returns the state directory that a site file names, without compiling it.

    Raises:
        ConfigError: the file cannot be read or is not TOML.
    """
    try:
        data = tomllib.loads(config_path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise ConfigError([f"{config_path}: cannot be read: {error.strerror or error}"]) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError([f"{config_path}: not TOML: {error}"]) from error
    gateway = data.get("gateway")
    named = gateway.get("state_dir") if isinstance(gateway, dict) else None
    if isinstance(named, str) and named:
        return config_path.absolute().parent / named
    # systemd may list several directories; the first is ours.
    return Path(environment.get("STATE_DIRECTORY", "").split(":")[0] or DEFAULT_STATE_DIR)


def load_plan(plan_path: Path) -> Plan:
    """Returns the plan on disk, whatever it was made from: the last good one.

    Raises:
        PlanError: there is none, or it is damaged or of another format.
    """
    try:
        return Plan.from_bytes(plan_path.read_bytes())
    except OSError as error:
        raise PlanError(f"{plan_path}: {error.strerror or error}") from error


def load_or_compile(config_path: Path, plan_path: Path) -> Plan:
    """Returns the plan of a site file; compiles only when something changed.

    Warnings of the compiler are logged.

    Raises:
        ConfigError: the configuration is refused; the plan on disk is left as it was.
        EdgeError: the compiler could not be run or did not end.
        StateDirError: the plan cannot be written.
    """
    try:
        data = plan_path.read_bytes()
        config = str(config_path.absolute())
        if is_current(data) and any(path == config for path, _ in inputs_of(data)[1]):
            return Plan.from_bytes(data)
    except FileNotFoundError:
        pass
    except (OSError, PlanError) as error:
        _LOG.warning("the stored plan is compiled anew: %s", error)
    compile_plan(config_path, plan_path)
    return load_plan(plan_path)


def compile_plan(config_path: Path, plan_path: Path, *, like: Path | None = None) -> None:
    """Compiles a site file into a plan file, in a child.

    Args:
        like: a plan whose phases stay where a block is read as before.

    Raises:
        ConfigError: the configuration is refused; nothing was written.
        EdgeError: the compiler could not be run or did not end.
        StateDirError: the plan cannot be written.
    """
    try:
        plan_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise unusable(plan_path.parent, error) from error
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "-m", "edge_agent.compile", str(config_path), "--out", str(plan_path)]
    command += [] if like is None else ["--like", str(like)]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_COMPILE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EdgeError(f"compiling {config_path} took more than {_COMPILE_TIMEOUT_S:.0f} s") from None
    except OSError as error:
        raise EdgeError(f"the compiler cannot be started: {error.strerror or error}") from error
    lines = done.stderr.decode("utf-8", "replace").splitlines()
    if done.returncode == ConfigError.exit_status:
        raise ConfigError(lines)
    if done.returncode != 0:
        raise EdgeError("\n".join(lines[-5:]) or f"the compiler ended with status {done.returncode}")
    for line in lines:
        _LOG.warning("%s", line)
