"""Why a visit did not pass: every sentence that a record can say, and what a reader is shown of it.

A record carries an English sentence, signed (``reason`` in docs/wire-format.md), and is read in two languages.  One
table serves both ends: the gateway writes its sentences from it (``sentence``), and whoever shows one finds it
again (``said_of``), numbers and all.  Only what this table wrote is a ``Reason``, so none can be written that it does
not know.  A sentence of a newer gateway is shown as it was signed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import cache
from string import Formatter
from typing import NewType

from contracts.quality import BY_REASON, CODES

#: a sentence that ``sentence`` wrote, or ``NONE``
Reason = NewType("Reason", str)
#: of what passed
NONE = Reason("")
#: (en, zh)
Words = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One sentence, with places in braces; each language names the places of ``signed``."""

    signed: str
    zh: str
    #: empty: as it was signed
    en: str = ""


class Why(Enum):
    """All that is said."""

    #: ``seen``: word of ``contracts.quality``
    LOST = Form(signed="lost: {seen}", en="readings were lost: {seen}", zh="读数中断：{seen}")
    BAD = Form(signed="bad: {seen}", en="readings were bad: {seen}", zh="坏值：{seen}")
    OVER_RANGE = Form(signed="over range: beyond what the instrument can show", zh="超量程：超出仪表可显示的范围")
    UNDER_RANGE = Form(signed="under range", zh="低于量程")
    NO_VALUE = Form(signed="no answer: no value with gas of {gas}", zh="无响应：标气 {gas}，未读到数值")
    NO_ANSWER = Form(signed="no answer: at most {peak} with gas of {gas}", zh="无响应：标气 {gas}，最大响应 {peak}")
    DEVIATION = Form(
        signed="deviation: {peak} with gas of {gas}, {limit} allowed",
        zh="偏差过大：标气 {gas}，响应 {peak}，允许偏差 {limit}",
    )
    SLOW = Form(
        signed="slow: {took} s to 90 %, {limit} s allowed", zh="响应过慢：到 90% 用时 {took} 秒，允许 {limit} 秒"
    )
    SLOW_RETURN = Form(
        signed="slow return: {took} s, {limit} s allowed", zh="恢复过慢：用时 {took} 秒，允许 {limit} 秒"
    )
    NOT_BACK = Form(signed="not back: time up before the value was back", zh="未恢复：到时数值仍未恢复")
    NOT_GOOD_AFTER = Form(
        signed="not back: no good value inside the limits after the work", zh="未恢复：校准后未读到限值内的良好数值"
    )
    TIME_UP = Form(signed="time up", zh="超时")
    GIVEN_UP = Form(signed="ended by the person", zh="人员主动结束")
    INHIBIT_ENDED = Form(signed="the inhibit was ended by somebody else", zh="抑制被他人解除")
    POINT_LEFT = Form(signed="the point left the plan", zh="测点已从配置中移除")
    UNIT_CHANGED = Form(signed="the unit of the point changed", zh="测点单位已变更")
    #: ``stage``: word of ``rules.visiting.Stage``
    AGENT_ENDED = Form(signed="agent ended: in stage {stage}", zh="采集程序中止，当时处于{stage}阶段")


#: what can stand in a place; numbers are the same in every language
_PLACES = {"seen": r"[a-z0-9_]+|quality code \d+", "stage": "[a-z_]+"}
_NUMBER = r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?"
_STAGES = {"zero": "零点", "gas": "通气或校准", "answered": "已响应", "return": "恢复"}
_UNKNOWN_CODE = "quality code "


def sentence(why: Why, **places: str) -> Reason:
    """Returns a sentence as it is signed.

    Args:
        why: which one.
        places: what stands in its places, numbers written out.
    """
    return Reason(why.value.signed.format(**places))


def said_of(reason: str) -> Words:
    """Returns a signed sentence in both languages, its numbers as signed; one that is not known as it is, twice."""
    for form, pattern in _patterns():
        found = pattern.fullmatch(reason)
        if found is not None:
            places = found.groupdict()
            en, zh = ({name: _shown(name, text)[n] for name, text in places.items()} for n in (0, 1))
            return (form.en or form.signed).format(**en), form.zh.format(**zh)
    return reason, reason


def _shown(place: str, text: str) -> Words:
    """Returns what stands in a place in both languages; a word that is not known as it is."""
    if place == "stage":
        return text, _STAGES.get(text, text)
    if place == "seen" and text in BY_REASON:
        code = CODES[BY_REASON[text]]
        return code.en, code.zh
    if place == "seen" and text.startswith(_UNKNOWN_CODE):
        return text, "质量码 " + text.removeprefix(_UNKNOWN_CODE)
    return text, text


@cache
def _patterns() -> tuple[tuple[Form, re.Pattern[str]], ...]:
    return tuple((why.value, re.compile(_pattern(why.value.signed))) for why in Why)


def _pattern(signed: str) -> str:
    return "".join(
        re.escape(text) + ("" if place is None else f"(?P<{place}>{_PLACES.get(place, _NUMBER)})")
        for text, place, _, _ in Formatter().parse(signed)
    )
