"""What is told to whom, and when: a pure table over what stands in the database.

A *rule* chooses alarms and says how often; a *target* is one address of a rule, and has a history of its own.
What is owed for an alarm follows from that history alone, so a restart forgets nothing.

What holds for every alarm whose decision is to page, and that a rule chooses:
  * it is told once at least, also where it is over or acknowledged by then: who is told is not who acknowledged;
  * it is told again while it stands and nobody has acknowledged it, every ``repeat_s``;
  * a red one is due the moment it is decided upon, alone in its message, whatever flaps beside it; so is the first
    word of one that a person at the desk made a real warning;
  * others wait while their source was told of within ``quiet_s``, and share a message, one each ``GATHER_US``;
  * a failed attempt is tried again, later each time; what nobody needs to know any more is given up after a day;
  * who was told of one that stood is told once that it is over, not while its source has another one standing
    and, red ones excepted, not within ``quiet_s`` (a rule may turn this off).
A trial or a review is never told.  A clock that went back delays nothing.

Not here: the clock, the database, the words, the sending.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase

from collector.statements import gravity

#: (number of the gateway, id of the alarm)
Key = tuple[int, bytes]
#: (number of the gateway, point, rule id): what raises one alarm after the other when it flaps
Source = tuple[int, str, str]

RED = "red"
#: between two messages about alarms that are not red, at least (us): a flood becomes a few messages
GATHER_US = 10_000_000
#: after the first failed attempt (us); doubled with each further one up to the bound
BACKOFF_US = 5_000_000
LONGEST_BACKOFF_RED_US, LONGEST_BACKOFF_US = 60_000_000, 600_000_000
#: what could not be told for so long, and is over or acknowledged, is given up (us)
GIVE_UP_US = 86_400_000_000
#: and that it is over after so many failed attempts, about a day
GIVE_UP_CLEARED = 150


class Kind(StrEnum):
    """Why a message goes out."""

    FIRST = "first"
    #: told before as a less grave one
    GRAVER = "graver"
    #: it stands, and nobody has acknowledged it
    REPEAT = "repeat"
    #: what was told of as standing is over by the gateway's word
    CLEARED = "cleared"
    #: somebody pressed the button
    TEST = "test"
    #: not sent any more; only recorded
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Which alarms are told, and how often."""

    name: str
    severities: frozenset[str]
    #: patterns with ``*`` and ``?``; one of each must fit
    gateways: tuple[str, ...] = ("*",)
    points: tuple[str, ...] = ("*",)
    #: ``zh``, ``en`` or ``both``
    lang: str = "both"
    #: seconds between repetitions; 0: none
    repeat_s: int = 600
    #: seconds for which a source that was told of is not told of anew, red ones excepted
    quiet_s: int = 300
    #: whether it is told, too, that an alarm is over
    all_clear: bool = True

    def chooses(self, subject: Subject) -> bool:
        """Returns whether an alarm is one of this rule's and is to be told at all."""
        return (
            subject.is_page
            and subject.severity in self.severities
            and any(fnmatchcase(subject.gateway, pattern) for pattern in self.gateways)
            # The collector's own alarms are of no point: a rule for some points is told of them by gateway.
            and (not subject.point or any(fnmatchcase(subject.point, pattern) for pattern in self.points))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """An alarm as it is now, with what was decided about it."""

    key: Key
    gateway: str
    #: empty for one of the collector's own
    point: str
    rule_id: str
    severity: str
    #: the newest decision, its number, and when word of the alarm came (UTC us)
    is_page: bool
    decision_id: int
    decided_us: int
    is_over: bool
    is_acknowledged: bool
    #: the target was told of it while it stood, and not yet that it is over
    awaits_clear: bool = False
    #: a person at the desk made it a real warning
    is_urged: bool = False

    @property
    def source(self) -> Source:
        """Returns what raised it."""
        return self.key[0], self.point, self.rule_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one target was told of one alarm."""

    #: newest message that was taken, UTC us; None while there is none
    sent_us: int | None = None
    #: severity as it was told, the gravest; empty while it was not
    severity: str = ""
    #: attempts since then that failed, and when the newest began
    failures: int = 0
    tried_us: int | None = None
    #: an attempt has no answer on record: it may have arrived
    is_open: bool = False
    #: of the failures those that were to tell that it is over
    clear_failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One line of the record about one alarm."""

    at_us: int
    severity: str
    #: ``sent``, ``failed``, ``given_up``; None where none was recorded
    outcome: str | None
    #: word of ``Kind``
    kind: str = Kind.FIRST.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is to be sent, or given up, now."""

    kind: Kind
    subjects: tuple[Subject, ...]
    #: a message about one of them may have arrived before
    is_possible_repeat: bool

    @property
    def severity(self) -> str:
        """Returns the gravest severity in it."""
        return min((subject.severity for subject in self.subjects), key=gravity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Messages in the order of sending, and when there will be something again (UTC us; None: not by itself)."""

    messages: tuple[Message, ...]
    next_us: int | None


#: (was told, is graver now, waits for somebody) -> what is owed
OWED: Mapping[tuple[bool, bool, bool], Kind | None] = {
    (False, False, True): Kind.FIRST,
    (False, False, False): Kind.FIRST,
    (True, True, True): Kind.GRAVER,
    (True, True, False): Kind.GRAVER,
    (True, False, True): Kind.REPEAT,
    (True, False, False): None,
}

UNTOLD = Told()
_QUIET = frozenset({Kind.FIRST, Kind.CLEARED})
#: shares a message whatever its severity
_UNHURRIED = frozenset({Kind.CLEARED, Kind.GIVEN_UP})


def owed(subject: Subject, told: Told) -> Kind | None:
    """Returns what is owed about an alarm that its rule chooses, now or later."""
    was_told = told.sent_us is not None
    is_graver = was_told and gravity(subject.severity) < gravity(told.severity)
    kind = OWED[was_told, is_graver, not subject.is_over and not subject.is_acknowledged]
    return Kind.CLEARED if kind is None and subject.is_over and subject.awaits_clear else kind


def is_settled(rule: Rule, subject: Subject, told: Told) -> bool:
    """Returns whether nothing is owed but repetitions and that it is over, which are looked for otherwise."""
    return not rule.chooses(subject) or owed(subject, told) in (None, Kind.REPEAT, Kind.CLEARED)


def backoff_us(severity: str, failures: int) -> int:
    """Returns how long after a failed attempt the next one is due, us; 0 where none has failed."""
    longest = LONGEST_BACKOFF_RED_US if severity == RED else LONGEST_BACKOFF_US
    return min(longest, BACKOFF_US << min(failures - 1, 20)) if failures else 0


def due_us(rule: Rule, subject: Subject, told: Told, quiet_from_us: int | None, now_us: int) -> int | None:
    """Returns when something is to be said about an alarm, UTC us; None where nothing is.

    Args:
        rule: chooses it.
        subject: the alarm.
        told: what the target was told of it.
        quiet_from_us: when the target was last told of its source; None for never.
        now_us: a time after this one in the record is of a clock that went back, and counts for nothing.
    """
    kind = owed(subject, told)
    if kind is None or (kind is Kind.REPEAT and not rule.repeat_s):
        return None
    at = min(subject.decided_us, now_us)
    if kind is Kind.REPEAT and told.sent_us is not None:
        at = _after(told.sent_us, rule.repeat_s * 1_000_000, now_us)
    elif kind in _QUIET and not _is_hurried(kind, subject) and not told.failures and quiet_from_us is not None:
        at = max(at, _after(quiet_from_us, rule.quiet_s * 1_000_000, now_us))
    if told.failures and told.tried_us is not None:
        severity = "" if kind is Kind.CLEARED else subject.severity  # a red one is over: that is not urgent
        at = max(at, _after(told.tried_us, backoff_us(severity, told.failures), now_us))
    return at


def _after(at_us: int, wait_us: int, now_us: int) -> int:
    return now_us if at_us > now_us else at_us + wait_us


def plan(
    rule: Rule,
    subjects: Iterable[Subject],
    told: Mapping[Key, Told],
    quiet_from: Mapping[Source, int],
    gathered_us: int | None,
    now_us: int,
) -> Plan:
    """Returns what is to be sent now, and when to look again.

    Args:
        rule: one rule.
        subjects: alarms of any kind.
        told: what the target was told of each; missing for nothing.
        quiet_from: when the target was last told of each source, UTC us.
        gathered_us: when its newest message about alarms that are not red went out; None for never.
        now_us: UTC us.
    """
    now: list[tuple[Kind, Subject, Told]] = []
    later: list[int] = []
    chosen = [subject for subject in subjects if rule.chooses(subject)]
    standing = {subject.source for subject in chosen if not subject.is_over}
    for subject in chosen:
        known = told.get(subject.key, UNTOLD)
        if owed(subject, known) is Kind.CLEARED and subject.source in standing:
            continue  # looked at again when that one ends
        at = due_us(rule, subject, known, quiet_from.get(subject.source), now_us)
        kind = owed(subject, known)
        if at is None or kind is None:
            continue
        if _is_hopeless(kind, subject, known, now_us):
            now.append((Kind.GIVEN_UP, subject, known))
        elif at > now_us:
            later.append(at)
        else:
            now.append((kind, subject, known))
    hurried = [item for item in now if _goes_alone(item[0], item[1])]
    rest = [item for item in now if not _goes_alone(item[0], item[1])]
    messages = [_message([item]) for item in hurried]
    open_us = now_us if gathered_us is None else _after(gathered_us, GATHER_US, now_us)
    if any(kind is not Kind.GIVEN_UP for kind, _, _ in rest) and open_us > now_us:
        later.append(open_us)
        rest = [item for item in rest if item[0] is Kind.GIVEN_UP]
    # What failed before is kept apart, so that it cannot take what is new down with it.
    groups = [(kind, has_failed) for kind in Kind for has_failed in (False, True)]
    for kind, has_failed in groups:
        group = [item for item in rest if item[0] is kind and (item[2].failures > 0) is has_failed]
        messages += [_message(group)] if group else []
    fresh = {subject.key: known.failures for _, subject, known in now}
    messages.sort(key=lambda message: _order(message, fresh))
    return Plan(messages=tuple(messages), next_us=min(later, default=None))


def _is_hurried(kind: Kind, subject: Subject) -> bool:
    """Whether anti-flap does not hold: for red ones, and for what a person at the desk has let out."""
    return subject.severity == RED or (subject.is_urged and kind is Kind.FIRST)


def _goes_alone(kind: Kind, subject: Subject) -> bool:
    return kind not in _UNHURRIED and _is_hurried(kind, subject)


def _is_hopeless(kind: Kind, subject: Subject, told: Told, now_us: int) -> bool:
    if kind is Kind.CLEARED:
        return told.clear_failures >= GIVE_UP_CLEARED
    needs_nobody = subject.is_over or subject.is_acknowledged
    return kind is not Kind.REPEAT and needs_nobody and now_us - subject.decided_us > GIVE_UP_US


def _message(items: Sequence[tuple[Kind, Subject, Told]]) -> Message:
    ordered = sorted(items, key=lambda item: (gravity(item[1].severity), item[1].decided_us, item[1].key))
    return Message(
        kind=ordered[0][0],
        subjects=tuple(subject for _, subject, _ in ordered),
        is_possible_repeat=any(known.is_open for _, _, known in ordered),
    )


def _order(message: Message, failures: Mapping[Key, int]) -> tuple[bool, bool, int, int, Key]:
    """What was never tried goes first, then what is told the first time, then the graver and the older."""
    first = message.subjects[0]
    return (
        failures[first.key] > 0,
        message.kind in (Kind.REPEAT, Kind.CLEARED),
        gravity(message.severity),
        first.decided_us,
        first.key,
    )


def take(told: Told, attempt: Attempt) -> Told:
    """Returns what was told after one more attempt, in the order of attempts."""
    if attempt.outcome is None:
        return replace(told, tried_us=attempt.at_us, is_open=True)
    if attempt.outcome == "failed":
        return replace(
            told, failures=told.failures + 1, tried_us=attempt.at_us,
            clear_failures=told.clear_failures + (attempt.kind == Kind.CLEARED),
        )  # fmt: skip
    gravest = min((word for word in (told.severity, attempt.severity) if word), key=gravity)
    return Told(sent_us=attempt.at_us, severity=gravest, tried_us=attempt.at_us)


def fold(attempts: Iterable[Attempt]) -> Told:
    """Returns what a record of attempts, oldest first, says was told."""
    told = UNTOLD
    for attempt in attempts:
        told = take(told, attempt)
    return told
