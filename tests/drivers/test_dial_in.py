from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dial_in import MOST_UNKNOWN, Answer, DtuForm, HeartbeatFilter, Packet, PacketForm, recognize
from drivers.errors import PlanError
from drivers.frames import build_reply


def form(kind: str, value: str) -> PacketForm:
    return PacketForm(Packet(kind=kind, value=value))


def dtu(kind: str, value: str, heartbeat: tuple[str, str] | None = None) -> DtuForm:
    return DtuForm(registration=form(kind, value), heartbeat=None if heartbeat is None else form(*heartbeat))


DTUS = {
    "one": dtu("text", "DTU1", ("text", "HB")),
    "twelve": dtu("text", "DTU12"),
    "hex": dtu("hex", "FE 01 02", ("hex", "FE")),
    "chinese": dtu("text", "井盖七号"),
    "imei": dtu("pattern", r"IMEI:86\d{13},CSQ:\d+"),
}
EXACT = {name: DTUS[name] for name in ("one", "twelve", "hex", "chinese")}


@pytest.mark.parametrize(
    ("data", "answer", "names"),
    [
        (b"DTU1", Answer.KNOWN, ("one",)),
        (b"DTU1\r\n", Answer.KNOWN, ("one",)),
        (b"DTU1\0", Answer.KNOWN, ("one",)),
        (b"DTU1HBHB", Answer.KNOWN, ("one",)),
        (b"DTU1\r\nHB\r\n", Answer.KNOWN, ("one",)),
        (b"DTU12", Answer.KNOWN, ("twelve",)),
        (b"DTU12HB", Answer.UNKNOWN, ()),
        (b"DTU13", Answer.UNKNOWN, ()),
        (b"DTU1 and more", Answer.UNKNOWN, ()),
        (b"xDTU1", Answer.UNKNOWN, ()),
        (b"DT", Answer.WAIT, ()),
        (b"\xfe\x01", Answer.WAIT, ()),
        (b"\xfe\x01\x02", Answer.KNOWN, ("hex",)),
        (b"\xfe\x01\x02\xfe\xfe", Answer.KNOWN, ("hex",)),
        ("井盖七号".encode(), Answer.KNOWN, ("chinese",)),
        ("井盖七号".encode()[:4], Answer.WAIT, ()),
        (b"GET / HTTP/1.1\r\n", Answer.UNKNOWN, ()),
    ],
)
def test_whose_registration_it_is(data: bytes, answer: Answer, names: tuple[str, ...]) -> None:
    assert recognize(EXACT, data) == (answer, names)


@pytest.mark.parametrize(
    ("data", "answer", "names"),
    [
        (b"IMEI:867530912345678,CSQ:21", Answer.KNOWN, ("imei",)),
        (b"IMEI:867530912345678,CSQ:21\r\n", Answer.KNOWN, ("imei",)),
        (b"IMEI:867530912345678", Answer.WAIT, ()),
        (b"IMEI:867530912345678,CSQ:21!", Answer.WAIT, ()),
        (b"x" * MOST_UNKNOWN, Answer.UNKNOWN, ()),
        (b"DTU1", Answer.KNOWN, ("one",)),
    ],
)
def test_a_pattern_can_always_still_come(data: bytes, answer: Answer, names: tuple[str, ...]) -> None:
    assert recognize(DTUS, data) == (answer, names)


def test_two_that_claim_one_packet_are_told() -> None:
    both = {"a": dtu("pattern", r"DTU\d+"), "b": dtu("text", "DTU7")}
    assert recognize(both, b"DTU7") == (Answer.AMBIGUOUS, ("a", "b"))
    assert recognize(both, b"DTU8") == (Answer.KNOWN, ("a",))


@given(st.binary(max_size=300))
def test_strangers_stay_strangers(data: bytes) -> None:
    answer, names = recognize(EXACT, data)
    if not any(data.startswith(known.registration.exact) for known in EXACT.values()):
        assert answer in (Answer.UNKNOWN, Answer.WAIT)
        assert names == ()


@pytest.mark.parametrize(
    ("kind", "value", "word"),
    [
        ("text", "", "1 to 128"),
        ("text", "x" * 129, "1 to 128"),
        ("hex", "FE 0", "pairs of digits"),
        ("hex", "", "1 to 128"),
        ("pattern", "(", "no regular expression"),
        ("pattern", "x*", "matches nothing at all"),
        ("pattern", "", "matches nothing at all"),
        ("json", "x", "text, hex, pattern are"),
    ],
)
def test_a_packet_that_cannot_be(kind: str, value: str, word: str) -> None:
    with pytest.raises(PlanError, match=word):
        form(kind, value)


REPLY = build_reply(0xFE, 3, (1, 2, 3))


@pytest.mark.parametrize(
    ("heartbeat", "chunks", "left", "swallowed"),
    [
        (None, [b"HB", REPLY], b"HB" + REPLY, 0),
        (("text", "HB"), [b"HB"], b"", 1),
        (("text", "HB"), [b"HB" + REPLY], REPLY, 1),
        (("text", "HB"), [b"HB\r\nHB\r\n" + REPLY], REPLY, 2),
        (("text", "HB"), [b"H", b"B", REPLY], REPLY, 1),
        (("text", "HB"), [b"H", b"X"], b"HX", 0),
        # Inside of a reply nothing is touched, whatever its bytes are.
        (("text", "HB"), [REPLY[:4], b"HB", REPLY[4:]], REPLY[:4] + b"HB" + REPLY[4:], 0),
        (("hex", "FE FE"), [REPLY], REPLY, 0),
        (("hex", "FE FE"), [REPLY[:1], REPLY[1:]], REPLY, 0),
        (("hex", "FE FE"), [b"\xfe\xfe" + REPLY], REPLY, 1),
        (("pattern", r"HB\d+;"), [b"HB17;HB18;" + REPLY], REPLY, 2),
    ],
)
def test_heartbeats_in_front_of_a_reply_go(
    heartbeat: tuple[str, str] | None, chunks: list[bytes], left: bytes, swallowed: int
) -> None:
    taken = HeartbeatFilter(None if heartbeat is None else form(*heartbeat))
    assert b"".join(taken.feed(chunk) for chunk in chunks) == left
    assert taken.swallowed == swallowed


def test_a_registration_that_is_repeated_goes_too() -> None:
    taken = HeartbeatFilter(form("text", "HB"), form("pattern", r"WELL-7,\d+;"))
    assert taken.feed(b"HBWELL-7,21;HB" + REPLY) == REPLY
    assert taken.swallowed == 3


def test_after_a_request_heartbeats_go_again() -> None:
    taken = HeartbeatFilter(form("text", "HB"))
    assert taken.feed(REPLY) == REPLY
    assert taken.feed(b"HB") == b"HB"
    taken.restart()
    assert taken.feed(b"HB" + REPLY) == REPLY
    taken.restart()
    assert taken.feed(b"H") == b""
    taken.reset()
    assert taken.feed(REPLY) == REPLY


@given(st.lists(st.sampled_from([b"PING", b"PONG!"]), max_size=4), st.lists(st.integers(0, 40), max_size=8))
def test_any_segmentation_of_heartbeats_leaves_the_reply(beats: list[bytes], places: list[int]) -> None:
    taken = HeartbeatFilter(form("text", "PING"))
    stream = b"".join(b"PING" for _ in beats) + REPLY
    ends = sorted({min(place, len(stream)) for place in places} | {len(stream)})
    left = b"".join(taken.feed(stream[begin:end]) for begin, end in zip([0, *ends], ends, strict=False))
    assert left == REPLY
    assert taken.swallowed == len(beats)
