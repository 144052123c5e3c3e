"""The page of held waveforms: the newest ones, each with a small drawing of its channels.  Works without scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from collector.views import Queries, WaveformChannel, WaveformView
from collector.web.plot import Drawing, draw
from collector.web.render import Renderer

LISTED = 100
#: of these, so many are read from the signed bytes and drawn
DRAWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A waveform with what is drawn of it; no channels where it is only listed."""

    view: WaveformView
    rate_hz: float | None
    channels: tuple[tuple[WaveformChannel, Drawing], ...]


def waveform_page(queries: Queries, renderer: Renderer, query: Mapping[str, str], now_us: int) -> str:
    """Returns the page: all gateways, one gateway (``gateway``), one alarm (``alarm``)."""
    views = queries.waveforms(query.get("gateway") or None, query.get("alarm") or None, LISTED)
    found = []
    for number, view in enumerate(views):
        samples = queries.waveform(view.gateway, view.id) if number < DRAWN and view.is_kept else None
        channels = () if samples is None else tuple((c, draw(samples.times_us, c.values)) for c in samples.channels)
        found.append(Shown(view=view, rate_hz=None if samples is None else samples.rate_hz, channels=channels))
    return renderer.waveforms(found, now_us)
