"""What a compilation found: problems, warnings, and the files it looked at.

Part of compiling; a plain collector without opinions.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edge_agent.errors import ConfigError


class SiteReport:
    """Collects on the way, so that everything wrong is said at once."""

    def __init__(self, path: Path) -> None:
        """Takes the site file that keys refer to."""
        self.path = path
        #: directory that the file's relative paths start from
        self.folder = path.absolute().parent
        #: one line each, ``FILE: key.path: what is wrong; what would be right``
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self._inputs: dict[str, None] = {}
        self.add_input(path)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Absolute paths of every file and directory that the plan depends on."""
        return tuple(self._inputs)

    def where(self, key: str) -> str:
        """Returns file and key, as they stand before a problem."""
        return f"{self.path}: {key}"

    def problem(self, key: str, message: str) -> None:
        """Notes that the site file is wrong at ``key``."""
        self.problems.append(f"{self.where(key)}: {message}")

    def warning(self, key: str, message: str) -> None:
        """Notes what a person should know about ``key``."""
        self.warnings.append(f"{self.where(key)}: {message}")

    def add_problems(self, lines: Iterable[str]) -> None:
        """Notes what is wrong with another file; each line names it."""
        self.problems.extend(lines)

    def add_input(self, path: Path) -> None:
        """Notes that the plan depends on a file or directory."""
        self._inputs[str(path.absolute())] = None

    def raise_problems(self) -> None:
        """Raises ConfigError with every problem so far, each once; returns where there is none."""
        if self.problems:
            raise ConfigError(dict.fromkeys(self.problems))
