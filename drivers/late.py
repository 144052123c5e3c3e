"""The late-reply rule: who may still answer what, and what must not be asked meanwhile.

RTU replies carry a unit id and a function, and nothing that names their request.  Two requests
of one unit and one function, a *key*, can be mistaken for each other (an exception reply has
not even a byte count).  Pure bookkeeping on the times handed in; ``drivers.exchange`` uses it.

Guaranteed, for every delay up to the unit's bound (declared, or raised since): a reply is never
taken as the answer to another request.  After a time-out nothing of the same key is asked until
the bound is over; other units and functions go on.  A damaged reply counts as an answer only
while no other reply can be on the line.

Not guaranteed: a reply later than its bound that comes while a request of the same key and the
same length waits is taken as its answer; its bytes are the same.  That it came impossibly early
is no help, because on a two-wire line a reply that overlaps a request destroys both and fails
the CRC.  What can be noticed, and raises the bound so that it does not happen again, is told by
counting: **a unit answers its requests in their order, once each**, so the last reply belongs to
the last request or an earlier one, the reply before it to the request before that or an earlier
one, and so on.

::

    A sent      time-out   bound over   B sent   reply     (quiet)   reply
    |--------------------------------------------x "B"                x nobody's: so "B" was A's

Hence a unit beyond its bound is noticed when a reply comes while none is awaited (idle, in the
silence before a request, while another unit is asked), at the latest when the key is left alone
for as long as the unit takes.  A unit that is asked again and again without such a pause can stay
one answer behind unnoticed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

Key = tuple[int, int]  # unit id, function

#: a bound is never raised beyond this (microseconds)
LONGEST_BOUND_US = 60_000_000
#: a bound is raised to a quarter more than was seen
_MARGIN = 5 / 4
#: requests and replies of a key that are remembered
_REMEMBERED = 8
#: how many bounds long a line is looked at for a reply that is later
_WATCHED_BOUNDS = 4


class Sighting(Enum):
    """What a whole reply is that answers nothing which was just asked."""

    #: to a request that had timed out
    LATE = "late"
    #: more replies than requests are open: the answer before was probably an earlier request's
    DOUBTFUL = "doubtful"
    #: of nobody who owes one
    FOREIGN = "foreign"


@dataclass(slots=True)
class _Track:
    """Requests and replies of one key since a request got no answer."""

    sends_us: deque[int] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    replies_us: deque[int] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    #: requests less replies
    open: int = 0
    #: until when the reply to the last request can come; 0 when it was answered
    until_us: int = 0
    #: from the last unanswered request until its bound
    bound_us: int = 0
    last_us: int = 0

    @property
    def watch_until_us(self) -> int:
        """Until when a reply beyond the bound is looked for."""
        return self.last_us + min(_WATCHED_BOUNDS * self.bound_us, LONGEST_BOUND_US)

    def send(self, sent_us: int) -> None:
        """Notes a request; what nobody answered long ago is forgotten."""
        if sent_us > self.watch_until_us:
            self.sends_us.clear()
            self.replies_us.clear()
            self.open = 0
        self.sends_us.append(sent_us)
        self.open += 1
        self.last_us = max(self.last_us, sent_us)

    def reply(self, came_us: int) -> int:
        """Notes a reply; returns the longest delay that it proves (microseconds)."""
        self.replies_us.append(came_us)
        self.open -= 1
        self.last_us = max(self.last_us, came_us)
        # replies in the order of their requests, so each pair is a least delay
        pairs = zip(reversed(self.replies_us), reversed(self.sends_us), strict=False)
        return max((reply - send for reply, send in pairs), default=0)


@dataclass(slots=True)
class LateReplies:
    """Replies that are owed on one line."""

    _tracks: dict[Key, _Track] = field(default_factory=dict)
    _bounds_us: dict[int, int] = field(default_factory=dict)
    #: no track is worth watching later than this
    _watch_us: int = 0

    def bound_us(self, unit_id: int, declared_us: int) -> int:
        """Returns how long a reply of a unit can take: as declared, or more where more was seen."""
        return max(declared_us, self._bounds_us.get(unit_id, 0))

    def owe(self, key: Key, *, sent_us: int, until_us: int) -> None:
        """Notes that a request of this key got no answer and its reply can come until then."""
        track = self._tracks.setdefault(key, _Track())
        track.send(sent_us)
        track.until_us = until_us
        track.bound_us = until_us - sent_us
        self._watch_us = max(self._watch_us, track.watch_until_us)

    def answered(self, key: Key, *, sent_us: int, replied_us: int) -> None:
        """Notes that a request of this key got an answer."""
        track = self._tracks.get(key)
        if track is None:
            return
        track.until_us = 0
        track.send(sent_us)
        self._learn(key, track, replied_us)

    def blocked_until(self, keys: tuple[Key, ...], now_us: int) -> int | None:
        """Returns until when nothing of these keys may be asked, or ``None``."""
        if not self._tracks:
            return None
        until_us = max(track.until_us if (track := self._tracks.get(key)) else 0 for key in keys)
        return until_us if now_us < until_us else None

    def is_owed(self, now_us: int) -> bool:
        """Returns whether any reply can still be on its way."""
        return any(now_us < track.until_us for track in self._tracks.values())

    def watch_until(self, now_us: int) -> int | None:
        """Returns until when the line is worth looking at while nothing is asked, or ``None``."""
        if now_us >= self._watch_us:
            return None
        until_us = max((track.watch_until_us for track in self._tracks.values() if track.open > 0), default=0)
        return until_us if now_us < until_us else None

    def seen(self, key: Key, came_us: int, unseen_us: int = 0) -> Sighting:
        """Notes a whole reply that answers nothing which was just asked; a raised bound may follow.

        Args:
            key: of the frame.
            came_us: when it came, at the earliest.
            unseen_us: how much later it can have come, because nobody looked.
        """
        track = self._tracks.get(key)
        if track is None or track.open <= 0:
            return Sighting.FOREIGN
        sighting = Sighting.LATE if track.until_us else Sighting.DOUBTFUL
        self._learn(key, track, came_us, unseen_us)
        return sighting

    def _learn(self, key: Key, track: _Track, came_us: int, unseen_us: int = 0) -> None:
        delay_us = track.reply(came_us)
        self._watch_us = max(self._watch_us, track.watch_until_us)
        if delay_us + unseen_us > track.bound_us:
            raised = min(int(delay_us * _MARGIN), LONGEST_BOUND_US)
            self._bounds_us[key[0]] = max(raised, self._bounds_us.get(key[0], 0))
        if track.open <= 0 and not track.until_us:
            del self._tracks[key]
