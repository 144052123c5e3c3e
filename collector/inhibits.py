"""The mark of an inhibit on the readings of the gap ledger: which of them a person worked on.  Pure.

A reading keeps its outcome; the mark is counted beside it.  What a statement says is
``contracts.inhibit``'s; times are monotonic, of one boot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from collector.ledger import Track
from collector.outcomes import LATE, ON_TIME

#: (point, hour) -> outcome -> readings
Marked = dict[tuple[str, int], Counter[str]]
#: point -> (since, until), in order
Spans = Mapping[str, Sequence[tuple[int, int]]]


def mark_readings(
    marked: Marked, track: Track, spans: Spans, begin_us: int, end_us: int, hour_of: Callable[[int], tuple[int, int]]
) -> None:
    """Counts the readings of a track that lie in an inhibit of their point.

    Args:
        marked: added to.
        begin_us: of the ticks that count.
        end_us: they are before it.
        hour_of: monotonic us of a tick -> its hour, and when that ends.
    """
    places = [(place, key, spans[key]) for place, key in enumerate(track.keys) if key in spans]
    if not places:
        return
    first, end = track.grid.tick_from(begin_us), track.grid.tick_from(end_us)
    for tick, found in track.placed.items():
        if not first <= tick < end:
            continue
        time_us, codes = found.row.time_us, found.row.codes
        for place, key, stretches in places:
            if any(since <= time_us < until for since, until in stretches):
                why = (LATE if found.is_late else ON_TIME)[0 if codes is None else codes[place]]
                hour = hour_of(track.grid.time_of(tick))[0]
                marked.setdefault((key, hour), Counter())[why.outcome.value] += 1
