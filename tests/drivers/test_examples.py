"""Examples as frames: what was captured on a line is checked byte for byte before it is decoded."""

from __future__ import annotations

import pytest

from drivers.errors import ProfileError
from drivers.examples import example_problems, example_words
from drivers.frames import build_reply, with_crc
from drivers.loader import parse_profile
from tests.drivers.test_loader import MINIMAL

REQUEST = with_crc(bytes.fromhex("010300000002")).hex(" ").upper()
REPLY = build_reply(1, 3, (0, 253)).hex(" ").upper()


def frames(request: str = REQUEST, reply: str = REPLY, value: str = "253") -> list[str]:
    text = (
        f'[[examples]]\nname = "n"\ncaptured = true\nsource = "bench"\nrequest = "{request}"\nreply = "{reply}"\n'
        f'expect = {{ raw = {{ value = "{value}" }} }}\n'
    )
    return example_problems(parse_profile((MINIMAL + text).encode(), file="mini.toml", id="mini"))


def test_frames_hold() -> None:
    assert frames() == []
    assert frames(value="254") == ["examples[0] (n): raw: value is 253, expected 254"]


def test_bits_come_out_of_their_bytes() -> None:
    text = (
        MINIMAL + '[points.door]\nnames = { en = "door", zh = "门" }\nquantity = "status"\ntable = "discrete"\n'
        'address = 10\ntype = "bit0"\nresolution = "1"\nunit = "1"\n'
        f'[[examples]]\nname = "n"\ncaptured = true\nsource = "bench"\n'
        f'request = "{with_crc(bytes.fromhex("010200010000000A")[:2] + bytes.fromhex("0001000A")).hex()}"\n'
        f'reply = "{build_reply(1, 2, (0, 0, 0, 0, 0, 0, 0, 0, 0, 1)).hex()}"\n'
        'expect = { door = { value = "1" } }\n'
    )
    profile = parse_profile(text.encode(), file="mini.toml", id="mini")
    assert example_words(profile.examples[0]).words[-1] == 1
    assert example_problems(profile) == []


@pytest.mark.parametrize(
    ("request_", "reply", "said"),
    [
        (REQUEST[:-1] + "0", REPLY, "the CRC of the rest is"),
        (REQUEST, REPLY[:-1] + "0", "reply: ends with"),
        ("01 03", REPLY, "2 bytes are no frame"),
        ("xx", REPLY, "is not hex"),
        (with_crc(bytes.fromhex("010600000002")).hex(), REPLY, "is no read"),
        (REQUEST, build_reply(2, 3, (0, 253)).hex(), "reply: begins with 02 03, the request with 01 03"),
        (REQUEST, build_reply(1, 3, (253,)).hex(), "2 asked need 4 data bytes"),
        (with_crc(bytes.fromhex("010400000002")).hex(), build_reply(1, 4, (0, 253)).hex(), "is in table holding"),
    ],
)
def test_a_wrong_byte_is_named(request_: str, reply: str, said: str) -> None:
    (problem,) = frames(request_, reply)
    assert said in problem


@pytest.mark.parametrize(
    "given",
    [
        "",
        "address = 0",
        "words = [0, 1]",
        f'request = "{REQUEST}"',
        f'address = 0\nwords = [0, 1]\nrequest = "{REQUEST}"\nreply = "{REPLY}"',
    ],
)
def test_an_example_is_words_or_frames(given: str) -> None:
    text = f'[[examples]]\nname = "n"\ncaptured = false\nsource = "s"\n{given}\nexpect = {{}}\n'
    with pytest.raises(ProfileError, match="either address and words, or request and reply"):
        parse_profile((MINIMAL + text).encode(), file="mini.toml", id="mini")


@pytest.mark.parametrize("proved", ["frames", "unit"])
def test_a_proof_needs_something_captured(proved: str) -> None:
    text = MINIMAL.replace('confidence = "M"', f'confidence = "M"\nproved = "{proved}"')
    with pytest.raises(ProfileError, match="needs an example with captured = true"):
        parse_profile(text.encode(), file="mini.toml", id="mini")
