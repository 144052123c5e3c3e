"""Which site file and which state directory a command means."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_agent.errors import ConfigError
from edge_agent.plan_file import state_dir_of


def config_path(options: argparse.Namespace) -> Path:
    """Returns the site file that the command names, or the default one."""
    named: Path | None = getattr(options, "file", None)
    path: Path = named or options.config
    return path


def state_dir(options: argparse.Namespace) -> Path:
    """Returns the state directory: as named, else as the site file says.

    Raises:
        ConfigError: the site file cannot be read; the message tells what to name.
    """
    named: Path | None = options.state_dir
    if named is not None:
        return named
    try:
        return state_dir_of(config_path(options))
    except ConfigError as error:
        raise ConfigError(
            [*error.problems, "name the site file with --config, or the directory with --state-dir"]
        ) from None
