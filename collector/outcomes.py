"""What can become of a tick, and whose cause it is: the words of the gap ledger.

Pure tables.  Every tick of the grid has one outcome with one cause.  A cause is a word that is
stable: the reason of a quality code (``contracts.quality``), the cause of a loss record
(``contracts.batch.LOSS_CAUSES``), or one of the words below that the chain tells.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from contracts.quality import CODES, GOOD, Quality, quality_of


class Outcome(StrEnum):
    """What became of a tick."""

    #: a good sample, taken before the next tick
    GOOD = "good"
    #: an uncertain one, taken before the next tick
    UNCERTAIN = "uncertain"
    #: a good or uncertain sample that was taken after the next tick had come
    LATE = "late"
    #: the instrument answered, and what it said is no measurement
    BAD = "bad"
    #: there is no reading, and a cause why not
    MISSING = "missing"
    #: measured, and thinned on the gateway to save room
    THINNED = "thinned"
    #: sealed, and signed by the gateway as lost; or damaged here
    LOST = "lost"
    #: sealed, or perhaps sealed, and not here yet
    NOT_ARRIVED = "not_arrived"
    #: sealed, here, and refused: the signature is right and the content is not
    QUARANTINED = "quarantined"
    #: every batch of that time is here, and it is in none of them
    NEVER_SENT = "never_sent"
    #: was here, and went with the evidence of its day
    PRUNED = "pruned"
    #: lies in a boot whose clock is not known yet, which has a heading of its own
    UNPLACED = "unplaced"


class Whose(StrEnum):
    """Whose cause it is; the one who can do something about it."""

    NOBODY = ""
    DEVICE = "device"
    BUS = "bus"
    GATEWAY = "gateway"
    LINK = "link"
    COLLECTOR = "collector"
    PERSON = "person"


class Why(NamedTuple):
    """Outcome and cause of a tick."""

    outcome: Outcome
    #: empty for a good one
    cause: str


STOPPED = Why(Outcome.MISSING, "agent_stopped")
POWER = Why(Outcome.MISSING, "power")
RECONFIGURED = Why(Outcome.MISSING, "configuration_change")
NEVER_SENT = Why(Outcome.NEVER_SENT, "not_sealed")
#: a batch of that time is named by a chain and is not here
NAMED = Why(Outcome.NOT_ARRIVED, "named")
#: nothing has been heard since, so nobody has said whether there is anything
UNHEARD = Why(Outcome.NOT_ARRIVED, "unheard")
#: the batch is here and waits for its catalogue
WAITING = Why(Outcome.NOT_ARRIVED, "catalogue")
PRUNED = Why(Outcome.PRUNED, "retention")
UNPLACED = Why(Outcome.UNPLACED, "clock_not_known")
DAMAGED_HERE = Why(Outcome.LOST, "damaged_here")

_OF_QUALITY = {
    Quality.GOOD: Outcome.GOOD,
    Quality.UNCERTAIN: Outcome.UNCERTAIN,
    Quality.BAD: Outcome.BAD,
    Quality.MISSING: Outcome.MISSING,
}

#: of quality reasons whose cause is not the device
_WHOSE_REASON = {
    "calibration_overdue": Whose.PERSON,
    "inhibited": Whose.PERSON,
    "calibrating": Whose.PERSON,
    "simulated": Whose.PERSON,
    "unit_mismatch": Whose.PERSON,
    "other_device": Whose.PERSON,
    "not_computable": Whose.GATEWAY,
    "bad_frame": Whose.BUS,
    "foreign_reply": Whose.BUS,
    # What the profile asks for is not what this device has.
    "illegal_function": Whose.PERSON,
    "illegal_address": Whose.PERSON,
    "illegal_value": Whose.PERSON,
    "gateway_path": Whose.BUS,
    "gateway_target": Whose.BUS,
    "port_closed": Whose.BUS,
    "connect_failed": Whose.BUS,
    "missed_tick": Whose.BUS,
    "not_overheard": Whose.BUS,
    "owner_silent": Whose.BUS,
    "agent_stopped": Whose.GATEWAY,
    "power": Whose.GATEWAY,
    "configuration_change": Whose.PERSON,
}

_WHOSE_OUTCOME = {
    Outcome.GOOD: Whose.NOBODY,
    Outcome.THINNED: Whose.GATEWAY,
    Outcome.LOST: Whose.GATEWAY,
    Outcome.NOT_ARRIVED: Whose.LINK,
    Outcome.QUARANTINED: Whose.GATEWAY,
    Outcome.NEVER_SENT: Whose.GATEWAY,
    Outcome.PRUNED: Whose.COLLECTOR,
    Outcome.UNPLACED: Whose.GATEWAY,
}


def whose(why: Why) -> Whose:
    """Returns whose cause an outcome is."""
    if why == DAMAGED_HERE:
        return Whose.COLLECTOR
    if why.outcome is Outcome.LATE:
        # It was read, and later than it should have been: the line had no time for it.
        return Whose.BUS
    found = _WHOSE_OUTCOME.get(why.outcome)
    return _WHOSE_REASON.get(why.cause, Whose.DEVICE) if found is None else found


def _of_code(code: int, *, is_late: bool) -> Why:
    outcome = _OF_QUALITY[quality_of(code)]
    if is_late and outcome in (Outcome.GOOD, Outcome.UNCERTAIN):
        outcome = Outcome.LATE
    known = CODES.get(code)
    cause = "" if code == GOOD else f"code_{code}" if known is None else known.reason
    return Why(outcome, cause)


#: what a sample of each quality code is, taken in time and not
ON_TIME = {code: _of_code(code, is_late=False) for code in CODES}
LATE = {code: _of_code(code, is_late=True) for code in CODES}
