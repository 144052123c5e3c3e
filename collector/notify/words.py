"""What a notification says, in Chinese, English or both.  Pure.

It says what was measured and what is possible, never that something is safe, and that it comes from a
supplementary monitoring aid.  Names come from the edge: they are put on one line and cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import tzinfo

from collector.notify.plan import Kind
from collector.statements import gravity
from collector.views import AlarmView
from collector.web import words
from collector.web.language import Language, pick, say

#: alarms that a message names; further ones are counted
NAMED = 20
_LONGEST_NAME = 80

#: as at the foot of the page, where it is translated
SUPPLEMENTARY = (
    "Supplementary monitoring aid. It does not replace certified gas or fire alarm systems or on-site testing."
    " Readings must not be used as clearance to enter a confined space."
)
_WHY: dict[Kind, dict[Language, str]] = {
    Kind.FIRST: {"zh": "", "en": ""},
    Kind.GRAVER: {"zh": "已通知的报警升级。", "en": "Told before, and graver now."},
    Kind.CLEARED: {
        "zh": "报警已解除：仅表示网关测得的条件已结束，不说明现场安全。",
        "en": "Cleared: the condition that was measured has ended. That says nothing about safety on site.",
    },
    Kind.REPEAT: {"zh": "再次通知：尚无人确认。", "en": "Told again: nobody has acknowledged it."},
}
_WORDS: dict[str, dict[Language, str]] = {
    "cleared": {"zh": "报警已解除", "en": "alarm cleared"},
    "possible": {"zh": "可能的险情", "en": "possible hazard"},
    "others": {"zh": "等%s项", "en": "and %s more"},
    "more": {"zh": "另有%s项报警，见报警页。", "en": "%s more alarms: see the page of the collector."},
    "limit": {"zh": "限值", "en": "limit"},
    "raised": {"zh": "发生于", "en": "raised"},
    "late": {"zh": "迟到：消息到达时已持续%s", "en": "late: it had stood %s when word of it came"},
    "silent": {"zh": "源已静默，当前状态未知", "en": "source silent: state not known now"},
    "acknowledged": {"zh": "%s 已确认", "en": "acknowledged by %s"},
    "warned": {
        "zh": "限值仍在试运行，%s 认定为真实预警",
        "en": "limits on trial, made a real warning by %s",
    },
    "gateway": {"zh": "网关", "en": "gateway"},
    "point": {"zh": "测点", "en": "point"},
    "alarm": {"zh": "报警编号", "en": "alarm"},
    "check": {"zh": "请核实并处置，在报警页确认。", "en": "Please check, act and acknowledge on the alarm page."},
    "perhaps": {
        "zh": "可能重复：上一次发送后，未能得知是否送达。",
        "en": "Possible repeat: it is not known whether this message arrived before.",
    },
    "test": {"zh": "测试通知", "en": "test message"},
    "no_alarm": {"zh": "这是测试，没有对应的报警。", "en": "This is a test; no alarm belongs to it."},
    "asked": {"zh": "发起", "en": "asked for by"},
}


def write_message(
    lang: str,
    kind: Kind,
    alarms: Sequence[AlarmView],
    *,
    total: int,
    is_possible_repeat: bool,
    names: Callable[[str], tuple[str, str]],
    zone: tzinfo | None,
) -> tuple[str, str]:
    """Returns title and text of a message.

    Args:
        lang: ``zh``, ``en`` or ``both``.
        kind: why it goes out.
        alarms: those to name, at least one, graver first; ``NAMED`` of them are.
        total: how many it is about.
        is_possible_repeat: whether it may have arrived before.
        names: English and Chinese label of a gateway, either may be empty.
        zone: of the times in it; None is the zone of this machine.
    """
    shown = sorted(alarms, key=lambda alarm: (gravity(alarm.severity), alarm.raised_us))[:NAMED]
    titles, texts = [], []
    for language in languages(lang):
        titles.append(_title(language, shown[0], total, is_clear=kind is Kind.CLEARED))
        why = _WHY.get(kind, _WHY[Kind.FIRST])[language]
        lines = [why] if why else []
        lines += [_word("perhaps", language)] if is_possible_repeat else []
        for alarm in shown:
            lines += _about(language, alarm, names(alarm.gateway), zone)
        lines += [_word("more", language) % (total - len(shown))] if total > len(shown) else []
        lines += [] if kind is Kind.CLEARED else [_word("check", language)]
        lines.append(say(language, SUPPLEMENTARY))
        texts.append("\n".join(lines))
    return " / ".join(titles), "\n\n".join(texts)


def write_test(lang: str, name: str, by: str) -> tuple[str, str]:
    """Returns title and text of a test of the rule ``name`` that ``by`` asked for."""
    chosen = languages(lang)
    titles = [f"{_head(language)}{_word('test', language)}" for language in chosen]
    texts = []
    for language in chosen:
        asked = f"{_word('no_alarm', language)} {line(name)}. {_word('asked', language)}: {line(by)}"
        texts.append(f"{asked}\n{say(language, SUPPLEMENTARY)}")
    return " / ".join(titles), "\n\n".join(texts)


def languages(lang: str) -> tuple[Language, ...]:
    """Returns the languages of a rule's word, Chinese first."""
    return {"zh": ("zh",), "en": ("en",)}.get(lang, ("zh", "en"))  # type: ignore[return-value]


def line(text: str) -> str:
    """Returns a name on one line, cut, without characters that cannot be seen."""
    whole = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return whole if len(whole) <= _LONGEST_NAME else f"{whole[: _LONGEST_NAME - 1]}…"


def _word(key: str, language: Language) -> str:
    return _WORDS[key][language]


def _head(language: Language) -> str:
    return "前哨：" if language == "zh" else "Qianshao: "


def _title(language: Language, alarm: AlarmView, total: int, *, is_clear: bool) -> str:
    severity = words.word(language, words.SEVERITY, alarm.severity)
    name = line(pick(language, alarm.en, alarm.zh) or alarm.point)
    others = _word("others", language) % (total if language == "zh" else total - 1) if total > 1 else ""
    what = _word("cleared" if is_clear else "possible", language)
    if language == "zh":
        return f"{'' if is_clear else f'【{severity}】'}前哨：{what}，{name}{others}"
    return f"{'' if is_clear else f'[{severity}] '}Qianshao: {what}, {name}{' ' if others else ''}{others}"


def _about(language: Language, alarm: AlarmView, label: tuple[str, str], zone: tzinfo | None) -> list[str]:
    severity = words.word(language, words.SEVERITY, alarm.severity)
    name = line(pick(language, alarm.en, alarm.zh) or alarm.point)
    rule = line(pick(language, alarm.rule_en, alarm.rule_zh) or alarm.rule_id)
    unit = line(pick(language, alarm.unit_en, alarm.unit_zh))
    facts = []
    if alarm.cause != "limit" or alarm.value is None:
        facts.append(words.word(language, words.CAUSE, alarm.cause))
    if alarm.value is not None and alarm.shown:
        facts.append(f"{alarm.shown} {unit}".strip())
    if alarm.limit is not None:
        facts.append(f"{_word('limit', language)} {words.number_words(alarm.limit)} {unit}".strip())
    state = words.word(language, words.ALARM_STATE, alarm.state)
    if alarm.cleared_us is not None:
        state += f" {words.date_words(alarm.cleared_us, zone)}"
    notes = [state]
    notes += [_word("silent", language)] if alarm.is_source_silent else []
    if alarm.is_late and alarm.stood_s is not None:
        notes.append(_word("late", language) % words.age_words(language, alarm.stood_s))
    notes += [_word("warned", language) % line(alarm.warned_by)] if alarm.warned_by else []
    notes += [_word("acknowledged", language) % line(alarm.acknowledged_by)] if alarm.acknowledged_by else []
    raised = f"{words.date_words(alarm.raised_us, zone)} {words.offset_words(alarm.raised_us, zone)}"
    gateway = f"{line(pick(language, *label))} {alarm.gateway}".strip()
    return [
        f"{words.SEVERITY_SHAPE.get(alarm.severity, '○')} {severity} · {name} · {rule}",
        f"  {' · '.join(facts)}",
        f"  {_word('raised', language)} {raised} · {' · '.join(notes)}",
        f"  {_word('gateway', language)} {gateway} · {_word('point', language)} {line(alarm.point)}"
        f" · {_word('alarm', language)} {alarm.id[:12]}",
    ]
