"""What a simulated device says of itself: its serial number, its type code, its own address.

Pure: from a profile to fields with what they say.  Where in the registers a field is, and how
its bits are laid, is ``simulators.image``.
"""

from __future__ import annotations

from drivers.build import field_read, identity_reads
from drivers.encode import encode_string
from drivers.errors import EncodeError
from drivers.plan import IdentityRead
from drivers.profile import Profile, RecogniseProfile
from simulators.errors import ImageError


def identity_values(profile: Profile, serial: str, unit_id: int | None) -> list[tuple[IdentityRead, int | str]]:
    """Returns every field that tells what and which the device is, with what it says.

    Args:
        profile: of the device.
        serial: its serial number; empty leaves the registers 0.
        unit_id: its address; None leaves registers that repeat it 0.
    """
    said: dict[str, int | str] = {}
    for name in profile.identity if profile.serial_number is None else (profile.serial_number,):
        said[name] = serial
    for sign in reversed(profile.recognise):
        said[sign.field] = _sign_value(sign, unit_id)
    return [(field_read(profile, name), _typed(field_read(profile, name), value)) for name, value in said.items()]


def text_words(read: IdentityRead, text: str) -> tuple[int, ...]:
    """Returns the words of a text field; raises ImageError where the text does not fit."""
    try:
        return encode_string(text, count=read.count, byte_order=read.byte_order or "AB", encoding=read.encoding)
    except EncodeError as error:
        raise ImageError(f"serial number {text!r} does not fit the register {read.name}: {error}") from error


def known_spans(profile: Profile) -> list[tuple[str, int, int]]:
    """Returns (table, address, count) of all that the profile names beside its points."""
    spans = [(field.table, field.address, field.registers) for field in profile.fields.values()]
    spans += [(read.table, read.address, read.count) for read in identity_reads(profile)]
    writes = [(item.function, item.address, len(item.values)) for item in profile.triggers.values()]
    for change in (profile.address_change, profile.line_change):
        if change is not None:
            writes += [(step.function, step.address, len(step.values)) for step in change.steps]
    spans += [("coil" if function in (5, 15) else "holding", address, count) for function, address, count in writes]
    for output in profile.outputs.values():
        spans.append((output.table, output.address, 1))
        if output.pulse is not None:
            spans.append(("holding", output.pulse.address, 1 + len(output.pulse.before)))
        if output.safe is not None:
            spans.append((output.safe.table, output.safe.address, 1))
    if profile.watchdog is not None:
        spans.append((profile.watchdog.table, profile.watchdog.address, 1))
    return spans


def _sign_value(sign: RecogniseProfile, unit_id: int | None) -> int | str:
    if sign.own_address:
        return unit_id or 0
    if sign.between is not None:
        return sign.between[0]
    return sign.equals[0] if sign.equals else sign.starts


def _typed(read: IdentityRead, value: int | str) -> int | str:
    """Texts for text fields; a serial number that is no number leaves a number field 0."""
    if read.data_type == "string":
        return str(value)
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() else 0
    return value
