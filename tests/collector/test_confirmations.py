"""How limits stand at the centre: only the newest statement counts, and since when it is known."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.database import FILE_NAME, open_reader
from collector.documents import FOLDER, MOST_BYTES, Documents, kind_of
from collector.errors import LetterError, StoreError
from collector.queries import SqliteQueries
from collector.rebuild import rebuild
from contracts.confirmed import Confirmed
from tests.collector.conftest import Bench
from tests.collector.gateways import START_US, Gateway

S = 1_000_000
DAY = 86_400 * S
PDF = b"%PDF-1.7 confirmed limits of four wells"
DIGEST = hashlib.sha256(PDF).digest()
KEYS = tuple(f"well-{n}/ch4" for n in range(4))


def trial(*points: str) -> Confirmed:
    return Confirmed(state="trial", points=points)


def letter(*points: str, digest: bytes = DIGEST) -> Confirmed:
    return Confirmed(
        state="confirmed", by="Li Wei", at="2026-11-20", document="confirmed-limits.pdf", digest=digest, points=points
    )


@pytest.fixture
def queries(bench: Bench) -> Iterator[SqliteQueries]:
    made = SqliteQueries(bench.data / FILE_NAME, lambda: bench.now_us)
    bench.send(bench.gateway.catalogue_message(), at_us=S)
    yield made
    made.close()


def say(bench: Bench, at_us: int, *records: Confirmed, arrives_us: int | None = None, g: Gateway | None = None) -> None:
    sender = g or bench.gateway
    message = sender.seal(at_us, confirmed=records)
    bench.send(message, at_us=at_us if arrives_us is None else arrives_us, gateway=sender)


def stands(queries: SqliteQueries) -> dict[str, tuple[str, int | None]]:
    return {
        view.point: (view.state, None if view.since_us is None else view.since_us - START_US)
        for view in queries.trial()
    }


def test_limits_of_which_nothing_was_stated_are_told_apart(bench: Bench, queries: SqliteQueries) -> None:
    assert stands(queries) == dict.fromkeys(KEYS, ("unsaid", None))
    assert (queries.alarm_counts().on_trial, queries.alarm_counts().trial_unsaid) == (0, 1)
    say(bench, 10 * S, Confirmed(state="none", points=KEYS))
    assert (queries.alarm_counts().on_trial, queries.alarm_counts().trial_unsaid) == (0, 0)


def test_since_is_when_it_was_first_known_without_a_break(bench: Bench, queries: SqliteQueries) -> None:
    say(bench, 10 * S, trial(*KEYS[:3]), letter(KEYS[3]), arrives_us=12 * S)
    say(bench, DAY, trial(*KEYS[:3]), letter(KEYS[3]))
    assert stands(queries) == dict.fromkeys(KEYS[:3], ("trial", 12 * S)) | {KEYS[3]: ("confirmed", 12 * S)}
    counts = queries.alarm_counts()
    assert (counts.on_trial, counts.trial_since_us) == (3, START_US + 12 * S)
    say(bench, DAY + S, trial(KEYS[0]), letter(*KEYS[1:]))
    say(bench, DAY + 2 * S, trial(*KEYS[:2]), letter(*KEYS[2:]))
    assert stands(queries) == {
        KEYS[0]: ("trial", 12 * S),
        KEYS[1]: ("trial", DAY + 2 * S),
        KEYS[2]: ("confirmed", DAY + S),
        KEYS[3]: ("confirmed", 12 * S),
    }
    found = {view.point: view for view in queries.trial(state="confirmed")}[KEYS[2]]
    assert (found.by, found.at, found.document) == ("Li Wei", "2026-11-20", "confirmed-limits.pdf")
    assert (found.digest, found.is_attached) == (DIGEST.hex(), False)
    assert [(limit.direction, limit.value) for limit in found.limits] == [("high", 10.0)]


def test_an_older_statement_that_comes_later_changes_nothing(bench: Bench, queries: SqliteQueries) -> None:
    old = bench.gateway.seal(5 * S, confirmed=(trial(*KEYS),))
    say(bench, 10 * S, letter(*KEYS))
    bench.send(old, at_us=20 * S)
    assert stands(queries) == dict.fromkeys(KEYS, ("confirmed", 10 * S))
    later = Gateway(boot_id=b"boot-0123456789b", boot_counter=2, epoch=b"epoch--2")
    say(bench, 2 * S, trial(*KEYS), arrives_us=30 * S, g=later)  # another boot: its clock began anew
    assert stands(queries) == dict.fromkeys(KEYS, ("trial", 30 * S))


def test_a_point_without_limits_and_one_that_is_gone_do_not_count(bench: Bench, queries: SqliteQueries) -> None:
    say(bench, 10 * S, trial(*KEYS[:2], "well-9/ch4"), Confirmed(state="none", points=KEYS[2:]))
    assert set(stands(queries)) == {*KEYS[:2], "well-9/ch4"}
    g = bench.gateway
    bench.send(g.data(20 * S, confirmed=(trial(*KEYS[:2]),)), at_us=20 * S)  # with the catalogue that lists four
    assert set(stands(queries)) == set(KEYS[:2])
    assert queries.alarm_counts().on_trial == 2


def test_it_survives_rebuild(bench: Bench, queries: SqliteQueries) -> None:
    say(bench, 10 * S, trial(*KEYS))
    before = queries.trial()
    rebuild(bench.data / FILE_NAME, lambda name: bench.gateway.keys, {})
    assert queries.trial() == before


# ---- letters ---------------------------------------------------------------------------------


@pytest.fixture
def documents(bench: Bench) -> Documents:
    from concurrent.futures import Future

    def run(job: object) -> Future[object]:
        future: Future[object] = Future()
        future.set_result(bench.store.run(job))  # type: ignore[arg-type]
        return future

    return Documents(bench.data, run, lambda: open_reader(bench.data / FILE_NAME), lambda: bench.now_us)


def attach(documents: Documents, content: bytes = PDF, name: str = "limits.pdf", expected: str = "") -> str:
    return documents.attach(content, name=name, by="Wang Fang", note="scan", source="page 127.0.0.1", expected=expected)


def test_a_letter_that_matches_is_kept_and_handed_out(
    bench: Bench, queries: SqliteQueries, documents: Documents
) -> None:
    say(bench, 10 * S, letter(*KEYS))
    (named,) = queries.letters()
    assert (named.digest, named.points, named.attached_us) == (DIGEST.hex(), 4, None)
    assert attach(documents, name="C:\\scans\\limits.pdf", expected=DIGEST.hex()) == DIGEST.hex()
    (named,) = queries.letters()
    assert (named.name, named.kind, named.size, named.attached_by) == (
        "limits.pdf", "application/pdf", len(PDF), "Wang Fang",
    )  # fmt: skip
    assert named.named == ((bench.gateway.id, "Li Wei", "2026-11-20", "confirmed-limits.pdf"),)
    assert all(view.is_attached for view in queries.trial())
    found = documents.read(DIGEST.hex())
    assert found is not None
    assert found.content == PDF
    assert documents.read(DIGEST.hex().upper()) == found
    assert documents.has(DIGEST.hex())
    assert [path.name for path in (bench.data / FOLDER).iterdir()] == [DIGEST.hex()]
    attach(documents, name="again.pdf")
    assert queries.letters() == [named]


@pytest.mark.parametrize(
    ("content", "expected", "sentence"),
    [
        (b"%PDF-1.7 another", DIGEST.hex(), "does not match: the gateway names"),
        (b"%PDF-1.7 another", "", "no gateway names a letter"),
        (b"", "", "0 bytes"),
        (b"%PDF-" + bytes(MOST_BYTES), "", "8388613 bytes"),
        (b"\x7fELF\x00\xff", "", "none of PDF"),
    ],
)
def test_what_does_not_match_is_refused_and_leaves_nothing(
    bench: Bench, queries: SqliteQueries, documents: Documents, content: bytes, expected: str, sentence: str
) -> None:
    say(bench, 10 * S, letter(*KEYS))
    with pytest.raises(LetterError, match=sentence):
        attach(documents, content, expected=expected)
    assert not (bench.data / FOLDER).exists()
    assert bench.rows("SELECT count(*) FROM document") == [(0,)]


def test_a_letter_that_was_changed_is_not_handed_out(
    bench: Bench, queries: SqliteQueries, documents: Documents
) -> None:
    say(bench, 10 * S, letter(*KEYS))
    attach(documents)
    path: Path = bench.data / FOLDER / DIGEST.hex()
    path.write_bytes(b"%PDF-1.7 other limits")
    with pytest.raises(LetterError, match="not what was attached"):
        documents.read(DIGEST.hex())
    path.unlink()
    with pytest.raises(LetterError, match="cannot be read"):
        documents.read(DIGEST.hex())
    assert not documents.has(DIGEST.hex())
    assert not any(documents.has(name) for name in ("", ".", "../collector.key", "00" * 32))
    assert documents.read("../collector.key") is None
    assert documents.read("00" * 32) is None


def test_a_disk_that_takes_nothing_leaves_no_row(bench: Bench, queries: SqliteQueries, documents: Documents) -> None:
    say(bench, 10 * S, letter(*KEYS))
    (bench.data / FOLDER).write_text("a file where the folder should be")
    with pytest.raises(StoreError, match=FOLDER):
        attach(documents)
    assert bench.rows("SELECT count(*) FROM document") == [(0,)]


def test_a_letter_that_no_gateway_names_any_more_stays(
    bench: Bench, queries: SqliteQueries, documents: Documents
) -> None:
    say(bench, 10 * S, letter(*KEYS))
    attach(documents)
    say(bench, 20 * S, letter(*KEYS, digest=bytes(32)))
    other, old = queries.letters()
    assert (other.attached_us, other.points) == (None, 4)
    assert (old.name, old.named, old.points) == ("limits.pdf", (), 0)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (PDF, "application/pdf"),
        (b"\x89PNG\r\n\x1a\n...", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"PK\x03\x04", "application/zip"),
        ("业主确认：限值如下".encode(), "text/plain"),
        (b"   ", None),
        (b"a\0b", None),
        ("业主".encode("gbk"), None),
    ],
)
def test_kinds_of_letters(content: bytes, kind: str | None) -> None:
    assert kind_of(content) == kind
