"""A copy of the interpreter and of the packages that the measured process imports.

Proportional memory (PSS) divides a page by the processes that map it.  On a gateway nobody else runs our
Python; here simulator, recorder and collector do.  So the measured process gets an interpreter, a standard
library and packages of its own: other files, other pages.  What stays shared is the C library and its like.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

# Compiled files come along: a first run that compiles everything in memory would look bigger than it is.
_NOT_NEEDED = shutil.ignore_patterns("site-packages", "test", "tests", "idlelib", "tkinter", "config-*")
#: everything that an edge install brings, by what it is called in site-packages
PACKAGES = (
    *("annotated_types", "apsw", "_cffi_backend*", "cffi", "cryptography", "msgpack", "paho", "pydantic"),
    *("pydantic_core", "pymodbus", "serial", "typing_extensions.py", "typing_inspection"),
)


class OwnPython:
    """The copy in a folder; made once, removed with the folder."""

    def __init__(self, folder: Path) -> None:
        self._root = folder / "python"
        self._packages = folder / "packages"
        self.executable = self._root / "bin" / Path(sys.executable).resolve().name

    def make(self) -> None:
        """Copies; takes seconds and some 150 MB."""
        name = f"python{sys.version_info.major}.{sys.version_info.minor}"
        base = Path(sys.base_prefix)
        (self._root / "bin").mkdir(parents=True)
        shutil.copy2(Path(sys.executable).resolve(), self.executable)
        shutil.copytree(sysconfig.get_path("stdlib"), self._root / "lib" / name, ignore=_NOT_NEEDED)
        for library in (base / "lib").glob(f"libpython{sys.version_info.major}.{sys.version_info.minor}*.so.*"):
            shutil.copy2(library, self._root / "lib" / library.name)
        self._packages.mkdir()
        site = Path(sysconfig.get_path("purelib"))
        for package in PACKAGES:
            for found in site.glob(package):
                copy = shutil.copytree if found.is_dir() else shutil.copy2
                copy(found, self._packages / found.name)

    def environment(self, repository: Path) -> dict[str, str]:
        """Returns the environment variables under which the copy runs our code.

        The repository's own modules are imported in place: they are text, and their pages are private.
        """
        own = {
            "PYTHONHOME": str(self._root),
            "PYTHONPATH": os.pathsep.join((str(repository), str(self._packages))),
            "LD_LIBRARY_PATH": str(self._root / "lib"),
            "PYTHONNOUSERSITE": "1",
        }
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        return kept | own
