"""The fetcher believes the list, and only the list."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from scripts.fetch_assets import FetchError, ListError, Package, integrity_of, is_current, parse_list, pick_files

ROOT = Path(__file__).resolve().parent.parent.parent


def archive_of(files: dict[str, bytes]) -> bytes:
    """Return an npm-style archive with these files below ``package/``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


ARCHIVE = archive_of({"dist/a.js": b"let a = 1;", "LICENSE": b"free", "evil.js": b"no"})


def package(*, integrity: str | None = None, files: dict[str, str] | None = None) -> Package:
    return Package(
        name="a",
        version="1.0.0",
        integrity=integrity_of(ARCHIVE) if integrity is None else integrity,
        files={"dist/a.js": "a.js", "LICENSE": "a-LICENSE.txt"} if files is None else files,
    )


def test_the_repository_s_own_list_is_sound() -> None:
    into, packages = parse_list((ROOT / "assets.toml").read_text(encoding="utf-8"))
    targets = [target for p in packages for target in p.files.values()]
    assert str(into) == "collector/web/static/vendor"
    assert len(targets) == len(set(targets))
    assert {"uPlot.iife.min.js", "uPlot.min.css"} <= set(targets)


def test_only_listed_files_come_out() -> None:
    assert pick_files(package(), ARCHIVE) == {"a.js": b"let a = 1;", "a-LICENSE.txt": b"free"}


@pytest.mark.parametrize(
    ("wrong", "archive", "words"),
    [
        (package(), archive_of({"dist/a.js": b"let a = 2;", "LICENSE": b"free"}), "the list says sha512-"),
        (package(integrity="sha512-AAAA"), ARCHIVE, "the list says sha512-AAAA"),
        (package(files={"dist/b.js": "b.js"}), ARCHIVE, "has no file 'dist/b.js'"),
    ],
)
def test_a_difference_from_the_list_is_refused(wrong: Package, archive: bytes, words: str) -> None:
    with pytest.raises(FetchError, match=words):
        pick_files(wrong, archive)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("into = ", "Invalid value"),
        ('into = "x"', "package"),
        ('into = "/etc"\npackage = []', "leaves the repository"),
        ('into = "../x"\npackage = []', "leaves the repository"),
        (
            'into = "x"\n[[package]]\nname = "a"\nversion = "1"\nintegrity = "sha1-x"\nfiles = {}',
            "must begin with 'sha512-'",
        ),
        (
            'into = "x"\n[[package]]\nname = "a"\nversion = "1"\nintegrity = "sha512-x"\nfiles = { "f" = "../f" }',
            "not a plain file name",
        ),
    ],
)
def test_a_wrong_list_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(ListError, match=words):
        parse_list(text)


def test_a_second_run_has_nothing_to_do_until_a_file_or_the_list_changes(tmp_path: Path) -> None:
    assert not is_current(tmp_path, "digest", (package(),))
    for name in ("a.js", "a-LICENSE.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".fetched").write_text("digest")
    assert is_current(tmp_path, "digest", (package(),))
    assert not is_current(tmp_path, "another", (package(),))
    (tmp_path / "a.js").unlink()
    assert not is_current(tmp_path, "digest", (package(),))
