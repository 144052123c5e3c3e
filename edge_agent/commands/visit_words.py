"""The words of ``edge-agent visit``, in English and Chinese.

What a visit failed of travels as an English sentence in its record; ``rules.visit_words`` has it in both.
"""

from __future__ import annotations

from typing import Any

from edge_agent.commands.words import LANGUAGES, Words
from rules.visit_words import said_of

_TEXTS: dict[str, tuple[str, str]] = {
    "job bump": ("bump test", "通气测试"),
    "job calibration": ("calibration", "校准"),
    "zero": ("zero", "零点"),
    "before": ("before", "校准前"),
    "after": ("after", "校准后"),
    "gas": ("gas", "标气"),
    "peak": ("highest answer", "最大响应"),
    "t90": ("to 90 %", "到 90%"),
    "return": ("back", "恢复"),
    "of at most": ("{seconds:.0f} s, {limit:g} s allowed", "{seconds:.0f} 秒，允许 {limit:g} 秒"),
    "took": ("{seconds:.1f} s, {limit:g} s allowed", "{seconds:.1f} 秒，允许 {limit:g} 秒"),
    "age": ("{quality}, {age:.1f} s old", "{quality}，{age:.1f} 秒前"),
    "quality good": ("good", "良好"),
    "quality uncertain": ("UNCERTAIN: {reason}", "存疑：{reason}"),
    "quality bad": ("BAD: {reason}", "坏值：{reason}"),
    "quality missing": ("MISSING: {reason}", "缺失：{reason}"),
    "no value": ("no value was read yet", "尚未读到数值"),
    "failing": ("this test has failed already: {reason}", "本次测试已失败：{reason}"),
    "left": (
        "no alarm of this point for {minutes}:{seconds:02d} more; then it is freed by itself",
        "本测点报警抑制还剩 {minutes}:{seconds:02d}，到时自动解除",
    ),
    "advice wait_good": ("wait for a good value", "等待良好读数"),
    "advice gas_on": ("open the gas, and press Enter at that moment", "打开标气，同时按回车"),
    "advice wait_answer": ("wait: 90 % is at {target}", "请等待：90% 为 {target}"),
    "advice gas_off": ("it has answered: close the gas, and press Enter", "已响应：关闭标气，同时按回车"),
    "advice gas_off_late": ("too slow: close the gas, and press Enter", "响应超时：关闭标气，同时按回车"),
    "advice wait_return": ("wait until the value is back", "等待数值恢复"),
    "advice wait_return_late": (
        "too slow; the point is freed when the value is back or its time is up",
        "恢复超时；数值恢复或到时后自动解除抑制",
    ),
    "advice begin_work": ("press Enter, then work on the instrument", "按回车后开始校准仪表"),
    "advice end_work": ("press Enter when the work is done", "校准完成后按回车"),
    "advice nothing": ("", ""),
    "keys": (
        "Enter: next step   e: give up   Ctrl-C: leave, it goes on",
        "回车：下一步   e：放弃   Ctrl-C：离开，测试继续",
    ),
    "result passed": ("PASSED", "通过"),
    "result failed": ("FAILED", "未通过"),
    "result abandoned": ("ABANDONED", "已放弃"),
    "because": (": {reason}", "：{reason}"),
    "ended": (
        "alarms of {point} are judged again; the record is signed under {by}",
        "{point} 的报警判断已恢复；记录已用 {by} 的名义签名",
    ),
    "left it": (
        "The visit goes on in the gateway: {point} raises no alarm for at most {minutes}:{seconds:02d} more.\n"
        "Come back to it: edge-agent visit {point} --by {by}\n"
        "Give it up:      edge-agent visit {point} --by {by} --end",
        "测试仍在网关中继续：{point} 最多还有 {minutes}:{seconds:02d} 不报警。\n"
        "返回：edge-agent visit {point} --by {by}\n"
        "放弃：edge-agent visit {point} --by {by} --end",
    ),
    "given up": (
        "given up; the point is freed when its value is back, at the latest in {minutes}:{seconds:02d}",
        "已放弃；数值恢复后解除抑制，最迟 {minutes}:{seconds:02d} 后",
    ),
    "came back": ("going on with the visit that runs", "继续进行中的测试"),
    "own alarms": (
        "the instrument's own alarms are points of their own and are NOT inhibited: {points}",
        "仪表自身报警是独立测点，未被抑制：{points}",
    ),
    "point needed": (
        "POINT is needed: a key such as well-1/ch4, as `edge-agent read` lists them",
        "需要 POINT：测点键，如 well-1/ch4，见 edge-agent read",
    ),
    "by needed": ("--by NAME is needed: the record is signed under it", "需要 --by 姓名：记录以此署名"),
    "refusal a bump test begins from a good value": (
        "a bump test begins from a good value",
        "通气测试须从良好读数开始",
    ),
    "refusal the gas": ("the gas is too near to the value without it", "标气数值与未通气时的读数过于接近"),
    "refusal is not possible": ("that is not possible at this stage", "当前阶段不能进行此操作"),
    "refusal no visit": ("no visit runs here any more", "此测点已无进行中的测试"),
}


def say(words: Words, key: str, **facts: Any) -> str:
    """Returns a sentence in the language of ``words``."""
    return _TEXTS[key][LANGUAGES.index(words.language)].format(**facts)


def reason_of(words: Words, reason: str) -> str:
    """Returns why a visit did not pass, in the language of ``words``; a sentence that is not known as it was signed."""
    return said_of(reason)[LANGUAGES.index(words.language)]


def refusal_of(words: Words, refused: str) -> str:
    """Returns why a step was not possible: as the agent says it, with words of the person's language before it."""
    if words.language == "en":
        return refused
    known = next((key for key in _TEXTS if key.startswith("refusal ") and key[8:] in refused), None)
    return refused if known is None else f"{say(words, known)}（{refused}）"
