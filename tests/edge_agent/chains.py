"""A gateway's chain for tests: real keys, real seals, a clock that the test moves."""

from __future__ import annotations

from contracts.batch import AlarmEvent, Anchor, ClockState, Genesis, Lane, Origin, event_id
from contracts.columns import encode_block
from contracts.keys import Signer
from edge_agent.seal import Boot, Chain, Sealed

SIGNER = Signer.from_seed(bytes(range(32)))
BOOT = Boot(boot_id=b"\x01" * 16, counter=3)
CATALOGUE = b"\xca" * 32


class Clock:
    """Monotonic microseconds that only a test moves."""

    def __init__(self, now_us: int = 1_000_000_000) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        return self.now_us

    def pass_s(self, seconds: float) -> None:
        self.now_us += int(seconds * 1e6)


def anchor(clock: Clock) -> Anchor:
    return Anchor(
        mono_us=clock(), wall_us=1_800_000_000_000_000 + clock(), state=ClockState.SYNCHRONISED, uncertainty_ms=5
    )


def new_chain(
    clock: Clock, epoch: bytes = b"epoch--1", origin: Origin = Origin.LIVE, genesis: Genesis | None = None
) -> Chain:
    return Chain(
        gateway=SIGNER.public.gateway_id,
        signer=SIGNER,
        boot=BOOT,
        epoch=epoch,
        genesis=genesis or Genesis(version="test", reason="first", parent=None),
        anchor=lambda: anchor(clock),
        origin=origin,
    )


def seal_data(chain: Chain, clock: Clock, value: int = 1) -> Sealed:
    """Seals one data batch with two samples of one point."""
    now = clock()
    times = [now - 1_500_000, now - 500_000]
    block = encode_block(0, ["int"], now, times, [(value,), (value + 1,)], [None, None])
    return chain.seal(
        Lane.DATA,
        sealed_us=now,
        catalogue=CATALOGUE,
        blocks=[block],
        readings=2,
        first_us=times[0],
        last_us=times[1],
    )


def alarm_event(number: int, *, text: str = "well") -> AlarmEvent:
    """Returns one event of a gas point; ``number`` tells it from others."""
    id = event_id(SIGNER.public.gateway_id, BOOT.boot_id, "well-1/ch4", b"rulehash", "active", number)
    return AlarmEvent(
        id=id,
        raised_by=id,
        boot_id=BOOT.boot_id,
        point="well-1/ch4",
        quantity="ch4",
        unit="%{LEL}",
        en=text,
        zh="井",
        rule_id="gas/L2",
        rule_hash=b"rulehash",
        rule_en="L2",
        rule_zh="二级",
        severity="red",
        scheme="gas",
        state="active",
        cause="limit",
        limit=50.0,
        value=60.0,
        code=0,
        sampled_us=number,
        judged_us=number,
    )
