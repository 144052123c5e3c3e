"""What a plan says about the bursts of one device: plain frozen records, no numpy, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from contracts.errors import ContractError
from contracts.fields import U32, Fields
from drivers.plan import BlockRead

#: what is computed of one channel, and of all axes together
CHANNEL_FEATURES = ("mean", "rms", "peak", "p2p", "frequency")
FEATURES = frozenset({*CHANNEL_FEATURES, "tilt", "drift"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One number computed of a burst."""

    #: one of ``FEATURES``
    kind: str
    #: channel it is computed of; of ``tilt`` the axis; 0 for ``drift``
    channel: int
    #: of a frequency: 0 for the strongest; 0 for all else
    rank: int = 0

    def to_wire(self) -> list[Any]:
        return [self.kind, self.channel, self.rank]

    @classmethod
    def from_wire(cls, value: Any, channels: int) -> Feature:
        f = Fields("feature", value, 3)
        return cls(
            kind=f.choice("kind", FEATURES),
            channel=f.integer("channel", 0, channels - 1),
            rank=f.integer("rank", 0, 15),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureBlock:
    """The computed points of one device's bursts, and when they are due."""

    #: point numbers in the order of ``BurstPlan.features``
    points: tuple[int, ...]
    interval_ms: int
    #: a burst's middle is due when monotonic milliseconds leave this when divided by ``interval_ms``
    phase_ms: int
    #: whether a limit stands on any of its points
    is_alarm: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstPlan:
    """Fast reads of one device for some seconds, again and again."""

    #: index into ``Plan.devices``
    device: int
    read: BlockRead
    #: numbers of the points that its channels are, in the order of ``read.points``
    channels: tuple[int, ...]
    #: from one read to the next, and from the first to the last
    step_us: int
    length_ms: int
    features: tuple[Feature, ...]
    block: FeatureBlock
    #: acceleration of the three axes, in their unit, when the drift was zero; None where there is no drift
    upright: tuple[float, float, float] | None = None
    #: whether the samples around an alarm of the device are kept
    keeps_waveform: bool = True

    def to_wire(self, read: int) -> list[Any]:
        """Returns the plain form; ``read`` is the place of its block read in the plan."""
        block = self.block
        when = [list(block.points), block.interval_ms, block.phase_ms, block.is_alarm]
        what = [self.device, read, list(self.channels), self.step_us, self.length_ms]
        upright = None if self.upright is None else list(self.upright)
        return [*what, [item.to_wire() for item in self.features], when, upright, self.keeps_waveform]

    @classmethod
    def from_wire(cls, value: Any, reads: tuple[BlockRead, ...], devices: int, points: int) -> BurstPlan:
        """Inverse of ``to_wire``.

        Raises:
            ContractError: names record and field.
        """
        f = Fields("burst", value, 9)
        device = f.integer("device", 0, devices - 1)
        read = reads[f.integer("read", 0, len(reads) - 1)]
        channels = _numbers("burst.channels", f.items("channels", 16), points)
        if len(channels) != len(read.points) or not channels:
            raise ContractError(f"burst.channels: {len(channels)} for a read of {len(read.points)} points")
        step_us, length_ms = f.integer("step_us", 1, U32), f.integer("length_ms", 1, U32)
        features = tuple(Feature.from_wire(item, len(channels)) for item in f.items("features", 256))
        block = _block(f.raw(), points)
        if len(block.points) != len(features):
            raise ContractError(f"burst.block: {len(block.points)} points for {len(features)} features")
        raw = f.raw()
        upright = None
        if raw is not None:
            g = Fields("burst.upright", raw, 3)
            upright = (g.number("x"), g.number("y"), g.number("z"))
        return cls(
            device=device,
            read=read,
            channels=channels,
            step_us=step_us,
            length_ms=length_ms,
            features=features,
            block=block,
            upright=upright,
            keeps_waveform=f.boolean("keeps_waveform"),
        )


def _block(value: Any, points: int) -> FeatureBlock:
    f = Fields("burst.block", value, 4)
    numbers = _numbers("burst.block.points", f.items("points", 256), points)
    interval_ms = f.integer("interval_ms", 1, U32)
    return FeatureBlock(
        points=numbers,
        interval_ms=interval_ms,
        phase_ms=f.integer("phase_ms", 0, interval_ms - 1),
        is_alarm=f.boolean("is_alarm"),
    )


def _numbers(what: str, items: list[Any], points: int) -> tuple[int, ...]:
    if any(type(number) is not int or not 0 <= number < points for number in items):
        raise ContractError(f"{what}: one is no number of a point")
    return tuple(items)
