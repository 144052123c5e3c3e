"""What ``edge-agent annunciator`` says, in both languages."""

from __future__ import annotations

from edge_agent.commands.words import LANGUAGES, Words

_TEXTS: dict[str, tuple[str, str]] = {
    "shows": ("annunciator", "声光报警器"),
    "quiet": ("quiet", "无报警"),
    "sounding": ("sounding", "报警中"),
    "silenced": ("silenced: the next new alarm sounds again", "已消音：有新报警时将再次鸣响"),
    "silenced by": ("silenced by", "消音人"),
    "standing": ("alarms that drive it", "驱动它的报警数"),
    "test runs": ("a proof test runs", "正在进行验证试验"),
    "output": ("output", "输出"),
    "role": ("role", "作用"),
    "state": ("reads back", "回读"),
    "should be": ("should be", "应为"),
    "renewed": ("renewed before / drops after", "上次续期 / 断开时间"),
    "fault": ("fault", "故障"),
    "on": ("on", "接通"),
    "off": ("off", "断开"),
    "unknown": ("not known", "未知"),
    "beacon": ("beacon", "警灯"),
    "sounder": ("sounder", "警号"),
    "alive": ("agent alive", "程序在运行"),
    "seen and heard": ("Did every beacon light and every sounder sound?", "所有警灯都亮、所有警号都响了吗？"),
    "passed": ("proof test passed", "验证试验通过"),
    "failed": ("proof test FAILED", "验证试验未通过"),
    "nobody to ask": (
        "there is nobody to ask what was seen: run it in a terminal, or give --seen yes or --seen no",
        "无人可确认所见：请在终端中运行，或加 --seen yes 或 --seen no",
    ),
    "never passed": ("no proof test has passed yet", "尚无通过的验证试验"),
    "passed on": ("proof test passed on {day}", "验证试验于 {day} 通过"),
    "due on": ("the next is due on {day}", "下次应于 {day} 前进行"),
    "overdue since": ("the next was due on {day}: OVERDUE", "下次应于 {day} 前进行：已超期"),
    "due now": ("one is due now", "现在应进行"),
    "journal unreadable": (
        "this user may not read the journal, so the last proof test is not known",
        "当前用户无权读取日志，上次验证试验未知",
    ),
}


def say(words: Words, key: str, **values: object) -> str:
    """Returns a sentence in the language of the command.

    Raises:
        KeyError: there is no such sentence, or it wants another value.
    """
    return _TEXTS[key][LANGUAGES.index(words.language)].format(**values)
