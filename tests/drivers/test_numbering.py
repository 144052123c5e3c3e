"""The maker's sequences for a new address and new line settings."""

from __future__ import annotations

import pytest

from drivers.errors import ProfileError
from drivers.loader import parse_profile
from drivers.numbering import NumberStep, line_steps, numbering_steps
from drivers.profile import Profile
from tests.drivers.test_loader import MINIMAL

CHANGE = """
[address_change]
first = 1
last = 247
needs_power_cycle = true
steps = [
    { does = "unlock", function = 6, address = 0x69, values = [0xB588] },
    { does = "address", function = 16, address = 0x1A, values = ["0x2400 | {new}", "{old}"], answered_by = "old" },
    { does = "save", function = 6, address = 0, values = ["{new} << 8"], to = "new", wait_ms = 100 },
    { does = "restart", function = 6, address = 0, values = [0xFF], to = "broadcast", note = "beeps" },
]
[line_change]
bauds = { 9600 = 3, 19200 = 4 }
parities = { none = 2, even = 0 }
steps = [
    { does = "line", function = 6, address = 5, values = ["{baud}"] },
    { does = "line", function = 6, address = 6, values = ["{parity}"], answered_by = "none" },
]
"""


def profile(text: str = CHANGE) -> Profile:
    return parse_profile((MINIMAL + text).encode(), file="mini.toml", id="mini")


def test_the_sequence_as_the_maker_wants_it() -> None:
    def step(
        does: str, unit_id: int, function: int, address: int, *values: int, answered_by: tuple[int, ...]
    ) -> NumberStep:
        return NumberStep(
            does=does,  # type: ignore[arg-type]  # the literals below
            unit_id=unit_id,
            function=function,
            address=address,
            values=values,
            answered_by=answered_by,
            wait_ms=100 if does == "save" else 0,
            note="beeps" if does == "restart" else "",
        )

    assert numbering_steps(profile(), 80, 3) == (
        step("unlock", 80, 6, 0x69, 0xB588, answered_by=(80,)),
        step("address", 80, 16, 0x1A, 0x2403, 80, answered_by=(80,)),
        step("save", 3, 6, 0, 0x0300, answered_by=(3,)),
        step("restart", 0, 6, 0, 0xFF, answered_by=()),
    )


def test_either_address_may_answer_where_the_maker_does_not_say() -> None:
    text = CHANGE.replace('answered_by = "old"', 'answered_by = "either"')
    assert numbering_steps(profile(text), 80, 3)[1].answered_by == (80, 3)
    assert numbering_steps(profile(text), 3, 3)[1].answered_by == (3,)


def test_line_settings_are_written_as_their_codes() -> None:
    steps = line_steps(profile(), 7, baud=19200, parity="even")
    assert [(step.unit_id, step.address, step.values, step.answered_by) for step in steps] == [
        (7, 5, (4,), (7,)),
        (7, 6, (0,), ()),
    ]


@pytest.mark.parametrize("new", [0, 248])
def test_an_address_that_the_unit_cannot_have_is_refused(new: int) -> None:
    with pytest.raises(ProfileError, match=f"address {new} cannot be set; 1 to 247 can"):
        numbering_steps(profile(), 1, new)


def test_what_a_profile_does_not_say_is_told() -> None:
    with pytest.raises(ProfileError, match="how this device gets an address"):
        numbering_steps(profile(""), 1, 2)
    with pytest.raises(ProfileError, match="another baud rate"):
        line_steps(profile(""), 1, baud=9600)
    with pytest.raises(ProfileError, match="0 is no address"):
        numbering_steps(profile(), 0, 2)
    with pytest.raises(ProfileError, match="300 cannot be set; 9600, 19200 can"):
        line_steps(profile(), 1, baud=300, parity="even")
    with pytest.raises(ProfileError, match="None cannot be set; none, even can"):
        line_steps(profile(), 1, baud=9600)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"0x2400 | {new}"', '"{news}"', "is no value"),
        ('"0x2400 | {new}"', '"0x12400 | {new}"', "does not fit a register"),
        ('"0x2400 | {new}"', "65536", "does not fit a register"),
        ('"0x2400 | {new}"', '"{baud}"', "means nothing here"),
        ('["0x2400 | {new}", "{old}"]', '["{old}"]', None),
        ("function = 16", "function = 6", "writes one value, 2 are given"),
        ("function = 16", "function = 3", "address_change.steps[1].function"),
        ("first = 1", "first = 250", "above last"),
        ('values = ["{parity}"]', "values = [0]", "belong together"),
        ('values = ["{baud}"]', "values = [1]", "no step writes {baud}"),
    ],
)
def test_a_wrong_sequence_is_named(old: str, new: str, said: str | None) -> None:
    text = CHANGE.replace(old, new, 1)
    if said is None:  # another step still writes the new address
        profile(text)
        return
    with pytest.raises(ProfileError) as caught:
        profile(text)
    assert said in str(caught.value)


def test_a_value_that_runs_out_of_its_register_is_told() -> None:
    with pytest.raises(ProfileError, match="does not fit a register"):
        numbering_steps(profile(CHANGE.replace("{new} << 8", "{new} << 12")), 1, 100)
