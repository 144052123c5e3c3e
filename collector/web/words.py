"""The words for every state that the page shows, marked for translation.

A word from the wire that is not listed here (a newer gateway may know more) is shown as it is.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

from collector.web.language import Language, mark, say
from contracts.quality import BY_REASON, CODES
from rules.visit_words import said_of

SEVERITY = {
    "red": mark("Red"),
    "orange": mark("Orange"),
    "yellow": mark("Yellow"),
    "blue": mark("Blue"),
    "info": mark("Notice"),
}
#: graver first; also the order of the list of alarms
SEVERITY_RANK = {"red": 0, "orange": 1, "yellow": 2, "blue": 3, "info": 4}
#: a shape beside the colour, for those who do not tell colours apart
SEVERITY_SHAPE = {"red": "▲", "orange": "◆", "yellow": "■", "blue": "●", "info": "○"}

LIVENESS = {
    "online": mark("live"),
    "degraded": mark("degraded"),
    "silent": mark("silent"),
    "never": mark("never seen"),
}
CLOCK = {
    "unset": mark("not set"),
    "free": mark("free-running"),
    "ntp": mark("synchronised"),
    "collector": mark("set by the collector"),
    "wrong": mark("wrong"),
}
QUALITY = {
    "good": mark("good"),
    "uncertain": mark("uncertain"),
    "bad": mark("bad"),
    "missing": mark("missing"),
    "unknown": mark("unknown"),
}
ALARM_STATE = {
    "active": mark("active"),
    "latched": mark("latched, waits for reset"),
    "cleared": mark("cleared"),
}
MEASUREMENT = {
    "active": mark("active"),
    "source_silent": mark("active, source silent"),
    "cleared": mark("cleared"),
    "standing": mark("standing"),
}
DECISION = {
    "page": mark("pages"),
    "review": mark("for review"),
    "nothing": mark("pages nobody"),
}
REASON = {
    "new": mark("came at once"),
    "late": mark("came late and still stands, or its source went silent"),
    "over": mark("was over before word of it came"),
    "unstated": mark("the gateway no longer names it"),
    "trial": mark("limits on trial"),
    "desk": mark("made a real warning at the desk"),
    "test": mark("test alarm"),
    "before": mark("older than the record of decisions"),
}
#: in the order of the page
TRIAL_STATE = {
    "trial": mark("on trial"),
    "unsaid": mark("not stated by the gateway"),
    "confirmed": mark("confirmed in writing"),
}
#: why a letter was not kept
LETTER_WHY = {
    "size": mark("The file is empty or larger than 8 MB."),
    "kind": mark("The file is none of PDF, PNG, JPEG, plain text in UTF-8, or an office document."),
    "other": mark("It does not match: the gateway names a letter with another SHA-256."),
    "unnamed": mark("It does not match: no gateway names a letter with this SHA-256."),
}
#: no catalogue says whether a limit itself is past it
DIRECTION = {"high": mark("upper limit"), "low": mark("lower limit")}
SAID = {
    "acknowledge": mark("acknowledged"),
    "unacknowledge": mark("acknowledgement taken back"),
    "warn": mark("made a real warning"),
}
#: what a form of a page could not do
PROBLEM = {
    "trial": mark(
        "Nothing was done: that alarm is not held back for trial any more. Beside it stands what was decided."
    )
}
NOTICE = {
    "first": mark("told"),
    "graver": mark("told again, graver now"),
    "repeat": mark("told again, not acknowledged"),
    "cleared": mark("told that it is over"),
    "test": mark("test"),
    "given_up": mark("not told"),
}
ANSWER = {
    "sent": mark("taken by the other side"),
    "failed": mark("failed"),
    "given_up": mark("given up"),
    "none": mark("no answer known"),
}
CAUSE = {
    "limit": mark("limit passed"),
    "over_range": mark("over range"),
    "under_range": mark("under range"),
    "lost_while_rising": mark("lost while rising"),
    "rate": mark("changes too fast"),
    "flat": mark("value does not move"),
    "fault": mark("no usable reading"),
    "trend": mark("threshold soon reached"),
    "confirmed": mark("a second point alarms too"),
    "silence": mark("source silent"),
    "returned": mark("value returned"),
    "reset": mark("reset by a person"),
    "removed": mark("rule removed"),
    "cloned": mark("identity used twice"),
    "test": mark("test alarm"),
}
#: marks of an alarm's newest event; what follows ``=`` in one is a name
MARK = {
    "trial": mark("TRIAL"),
    "inhibit_over": mark("raised when the work on the point was over"),
    "with": mark("together with"),
    "by": mark("reset by"),
    "test": mark("TEST"),
}
#: filter of the journal
TESTS = {"only": mark("only these"), "without": mark("all but these")}
TEST_BY = mark("sent by")
JOB = {"bump": mark("bump test"), "calibration": mark("calibration")}
VISIT_RESULT = {
    "passed": mark("passed"),
    "failed": mark("not passed"),
    "abandoned": mark("abandoned"),
    "interrupted": mark("interrupted"),
}
#: (job, state) in one
DUE = {
    "bump due": mark("bump test due"),
    "bump overdue": mark("bump test overdue"),
    "calibration due": mark("calibration due"),
    "calibration overdue": mark("calibration overdue"),
}
LOSS = {
    "quota": mark("gateway's storage quota"),
    "disk_full": mark("gateway's disk full"),
    "store_unusable": mark("gateway's store unusable"),
    "damaged": mark("gateway's store damaged"),
    "thinned": mark("thinned"),
    "power": mark("power cut"),
}
WAVEFORM = {
    "before-alarm": mark("before the alarm"),
    "during-alarm": mark("while the alarm was raised"),
    "after-alarm": mark("after the alarm"),
}
LANE = {"alarm": mark("alarm chain"), "data": mark("data chain")}
SPANS: tuple[tuple[int, str], ...] = (
    (900, mark("15 min")),
    (7_200, mark("2 h")),
    (86_400, mark("24 h")),
    (604_800, mark("7 d")),
)

SECONDS = mark("%(n)s s")
MINUTES = mark("%(n)s min")
HOURS = mark("%(h)s h %(m)s min")
DAYS = mark("%(n)s d")
CLOCK_WRONG = mark("clock wrong")

#: a sample this far ahead of us has a wrong clock; less is rounding and transport
AHEAD_S = -2.0


def word(language: Language, table: dict[str, str], key: str) -> str:
    """Returns the word for a state, or the state itself where it is not in the table."""
    return say(language, table[key]) if key in table else key


def mark_words(language: Language, text: str, is_test: bool = False) -> str:
    """Returns a mark of an event as people say it; one that is not known as it is."""
    name, _, rest = text.partition("=")
    if is_test and name == "by":
        return f"{say(language, TEST_BY)} {rest}".rstrip()
    if name in MARK:
        return f"{say(language, MARK[name])} {rest}".rstrip()
    code = BY_REASON.get(text)
    return text if code is None else CODES[code].zh if language == "zh" else CODES[code].en


def visit_reason_words(language: Language, text: str) -> str:
    """Returns why a visit did not pass, its numbers as signed; a sentence that is not known as it is."""
    en, zh = said_of(text)
    return zh if language == "zh" else en


def day_words(us: int, zone: tzinfo | None) -> str:
    """Returns a day in a zone; a dash for no time of any calendar."""
    at = moment(us, zone)
    return "–" if at is None else f"{at:%Y-%m-%d}"


def age_words(language: Language, seconds: float) -> str:
    """Returns an age as people say it; a time ahead of ours is a wrong clock, not an age."""
    if seconds < AHEAD_S:
        return say(language, CLOCK_WRONG)
    whole = max(0, int(seconds))
    if whole < 100:
        return say(language, SECONDS, n=whole)
    if whole < 6_000:
        return say(language, MINUTES, n=whole // 60)
    if whole < 172_800:
        return say(language, HOURS, h=whole // 3600, m=whole % 3600 // 60)
    return say(language, DAYS, n=whole // 86_400)


def delay_words(language: Language, milliseconds: float) -> str:
    """Returns how long something took: milliseconds, seconds with one decimal, or as an age."""
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 100_000:
        return say(language, SECONDS, n=f"{milliseconds / 1000:.1f}")
    return age_words(language, milliseconds / 1000)


def number_words(value: float) -> str:
    """Returns a number with at most six significant digits, without an exponent where it can be helped."""
    return f"{value:.6g}"


def moment(us: int, zone: tzinfo | None) -> datetime | None:
    """Returns UTC microseconds as a time in a zone (None: this machine's); None for no time of any calendar."""
    try:
        return datetime.fromtimestamp(us / 1_000_000, UTC).astimezone(zone)
    except (OverflowError, ValueError, OSError):
        return None


def time_words(us: int, zone: tzinfo | None) -> str:
    """Returns month, day and time of day in a zone; a dash for no time of any calendar."""
    at = moment(us, zone)
    return "–" if at is None else f"{at:%m-%d %H:%M:%S}"


def step_words(us: int, zone: tzinfo | None) -> str:
    """As ``time_words``, with milliseconds: the steps of an alarm lie within one second."""
    at = moment(us, zone)
    return "–" if at is None else f"{at:%m-%d %H:%M:%S}.{at.microsecond // 1000:03}"


def date_words(us: int, zone: tzinfo | None) -> str:
    """Returns date and time of day in a zone; a dash for no time of any calendar."""
    at = moment(us, zone)
    return "–" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def day_begin_us(us: int, zone: tzinfo | None) -> int:
    """Returns when the day of a time began in a zone, UTC us."""
    at = datetime.fromtimestamp(us / 1_000_000, UTC).astimezone(zone)
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    if zone is None:  # the offset at midnight may be another one, where clocks are changed
        midnight = midnight.replace(tzinfo=None).astimezone()
    return int(midnight.timestamp()) * 1_000_000


def offset_words(us: int, zone: tzinfo | None) -> str:
    """Returns a zone's offset at a time, such as ``UTC+08:00``."""
    minutes = offset_minutes(us, zone)
    return f"UTC{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def offset_minutes(us: int, zone: tzinfo | None) -> int:
    """Returns a zone's offset at a time in minutes east of UTC."""
    at = moment(us, zone)
    offset = None if at is None else at.utcoffset()
    return 0 if offset is None else int(offset.total_seconds() // 60)
