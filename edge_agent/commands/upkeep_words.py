"""The words of the visit list and of commissioning, in English and Chinese."""

from __future__ import annotations

from edge_agent.commands.words import Words

_WORDS: dict[str, tuple[str, str]] = {
    "no street": ("street not given", "未填写街道"),
    "nothing to do": ("nothing to visit here", "无需上门"),
    "street alone": ("nothing to visit in {street}", "{street}无需上门"),
    "other street": (
        "--street {street}: nothing here hangs there; known: {known}",
        "--street {street}：此处没有该街道；已有：{known}",
    ),
    "what": ("what", "事项"),
    "for": ("for {age}", "已 {age}"),
    "due": ("due", "到期日"),
    "cause": ("probable cause", "可能原因"),
    "bring": ("bring", "携带"),
    "no day": (
        "no clock is set: due dates stay as they were decided last",
        "时钟未校准：到期状态保持上次判定",
    ),
    "all": ("tests and calibrations", "测试与校准"),
    "job": ("job", "项目"),
    "last": ("last passed", "上次通过"),
    "bump": ("bump test", "通气测试"),
    "calibration": ("calibration", "校准"),
    "state current": ("current", "有效"),
    "state due": ("due", "到期"),
    "state overdue": ("OVERDUE", "逾期"),
    "state never": ("never yet", "尚未进行"),
    "none watched": ("no point has bump_days or calibration_days", "没有测点设置 bump_days 或 calibration_days"),
    "serial": ("serial number {serial} as declared; the unit did not tell its own", "登记序列号 {serial}，设备未自报"),
    "serial read": ("serial number {serial}, as the unit says", "序列号 {serial}，与设备自报一致"),
    "serial other": (
        "ANOTHER UNIT: it says {serial}; accept it with: edge-agent replace {device}",
        "设备不符：自报序列号 {serial}；确认后登记：edge-agent replace {device}",
    ),
    "no serial": ("no serial number is declared", "未登记序列号"),
    "offer": (
        "bump test: {command} --gas N   (N: what the bottle says)",
        "通气测试：{command} --gas N   （N 为标气瓶上的数值）",
    ),
    "gas needs": (
        "--gas: a person is at the heads: name the points, and leave out --json",
        "--gas：须有人在探头旁：请指定测点，且不要使用 --json",
    ),
    "no gas point": ("--gas: no gas points: {points}", "--gas：不是气体测点：{points}"),
    "bump passed": ("bump test passed", "通气测试通过"),
    "bump failed": ("bump test NOT passed", "通气测试未通过"),
    "testing": ("test alarms are on their way; waiting up to {seconds:g} s", "测试报警已发出，最多等待 {seconds:g} 秒"),
    "seen": ("TEST alarm seen at the centre after {seconds:.1f} s", "测试报警已到达中心，用时 {seconds:.1f} 秒"),
    "not seen": ("TEST alarm not seen at the centre within {seconds:g} s", "{seconds:g} 秒内测试报警未到达中心"),
    "refused": ("TEST alarm refused by the centre: {code}", "测试报警被中心拒收：{code}"),
    "not sealed": (
        "TEST alarm could not be sealed; the agent's log has the reason",
        "测试报警未能签封，原因见采集程序日志",
    ),
    "not tried": (
        "TEST alarm not sent: one before it was not seen, and real alarms must not wait behind tests",
        "测试报警未发送：此前的测试报警未到达，以免真实报警排在测试之后",
    ),
    "link none": ("no collector is configured", "未配置中心"),
    "link down": ("link down for {age}", "链路已断开 {age}"),
    "link up": ("link up, no receipt yet", "链路正常，尚无回执"),
    "kept": ("kept, will be sent", "已保存，将自动补发"),
    "in memory": (
        "kept in memory only: the store does not answer; a restart before it is sent loses it",
        "仅保存在内存：存储无响应，发送前重启会丢失",
    ),
    "no value": ("no value", "无数值"),
    "ready": ("{count} of {total} points are ready", "{total} 个测点中 {count} 个合格"),
    "not meant": (
        "Supplementary monitoring aid; it does not replace certified gas or fire alarm systems.",
        "本系统为辅助监测预警工具，不替代依法认证的气体报警控制器、火灾报警系统及现场检测。",
    ),
}


def say(words: Words, key: str, **values: object) -> str:
    """Returns a sentence in the language of ``words``, its braces filled."""
    text = _WORDS[key][0 if words.language == "en" else 1]
    return text.format(**values)
