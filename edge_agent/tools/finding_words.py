"""What each finding is called, what was seen and what to do, in English and Chinese."""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.tools.diagnose import Finding, Likely


@dataclass(frozen=True, slots=True, kw_only=True)
class _Text:
    """Three sentences in both languages; names in braces are facts of the finding."""

    title: tuple[str, str]
    seen: tuple[str, str]
    do: tuple[str, str]


LIKELY: dict[Likely, tuple[str, str]] = {
    Likely.CERTAIN: ("certain", "确定"),
    Likely.LIKELY: ("likely", "很可能"),
    Likely.POSSIBLE: ("possible", "有可能"),
}

_TEXTS: dict[str, _Text] = {
    "other-client": _Text(
        title=("another client talks on this line", "总线上有另一台主站在通信"),
        seen=(
            "with nothing sent from here: unit {unit} was asked {times} times (function {function}, address {address}, "
            "count {count}, every {every} s), {answered} of them answered",
            "本机未发送时：单元 {unit} 被询问 {times} 次（功能码 {function}，地址 {address}，数量 {count}，"
            "间隔 {every} 秒），其中 {answered} 次有应答",
        ),
        do=(
            "never send here while it does; let the agent listen along (listen_only = true), or take the other client "
            "off the line",
            "对方通信期间不要发送；可设为只听（listen_only = true），或先断开另一台主站",
        ),
    ),
    "reports-by-itself": _Text(
        title=("a device sends by itself and is not in Modbus mode", "有设备主动上传数据，不是 Modbus 问答模式"),
        seen=(
            "bytes beginning with {header} come every {every} s although nobody asks",
            "无人询问时，每 {every} 秒出现以 {header} 开头的数据",
        ),
        do=(
            "switch that unit from active upload to Modbus, with its own tool or keys",
            "用该设备自带的工具或按键，将其由主动上传改为 Modbus 模式",
        ),
    ),
    "swapped-at-gateway": _Text(
        title=("A and B are swapped at the gateway, or the line is shorted", "网关侧 A、B 线接反，或线路短路"),
        seen=(
            "nobody answers, and in {seconds:.0f} s without sending there were {octets} bytes 00 or FF and {breaks} "
            "breaks or framing errors",
            "没有设备应答；未发送的 {seconds:.0f} 秒内收到 {octets} 个 00 或 FF 字节，{breaks} 次中断（break）或帧错误",
        ),
        do=(
            "swap the two wires at the gateway's terminal; that does no harm. No change: look for a short",
            "在网关端子处对调两根线（不会损坏设备）；若无变化，检查是否短路",
        ),
    ),
    "never-silent": _Text(
        title=("the line is never silent", "线路始终不安静"),
        seen=(
            "{octets} bytes in {seconds:.0f} s of listening; no pause was long enough to ask in",
            "监听 {seconds:.0f} 秒收到 {octets} 个字节；没有足够长的静默可供发送",
        ),
        do=(
            "take devices off one by one until it is silent: one of them keeps its driver on",
            "逐台断开设备直到线路安静：其中一台的发送器一直占用总线",
        ),
    ),
    "echo": _Text(
        title=("the adapter hears itself", "转换器会收到自己发送的数据（回显）"),
        seen=("every question came back before any answer", "每次发送的内容都先被原样收回"),
        do=(
            "nothing: the agent removes the echo. But an answer to a write looks the same, so prefer an adapter "
            "that switches its receiver off while it sends",
            "无需处理，程序会自动去除回显；但写操作的应答与回显相同，建议改用发送时关闭接收的转换器",
        ),
    ),
    "shared-address": _Text(
        title=("two units answer to address {unit}", "有两台设备使用同一地址 {unit}"),
        seen=(
            "of {asked} equal questions {good} were answered well, {damaged} damaged and {doubled} twice, while "
            "other addresses are fine",
            "相同询问 {asked} 次：正常 {good} 次，损坏 {damaged} 次，重复应答 {doubled} 次，其他地址正常",
        ),
        do=("disconnect one of them and give it another address", "断开其中一台，并为其设置其他地址"),
    ),
    "wrong-baud": _Text(
        title=("the devices speak {theirs}, the port is set to {ours}", "设备为 {theirs}，而端口设为 {ours}"),
        seen=("with {theirs} units {units} answered", "使用 {theirs} 时单元 {units} 有应答"),
        do=("set the port to {theirs}, or the devices to {ours}", "将端口改为 {theirs}，或将设备改为 {ours}"),
    ),
    "wrong-parity": _Text(
        title=(
            "parity differs: the devices have {theirs}, the port {ours}",
            "校验位不一致：设备 {theirs}，端口 {ours}",
        ),
        seen=("with {theirs} units {units} answered", "使用 {theirs} 时单元 {units} 有应答"),
        do=("set the port to {theirs}, or the devices to {ours}", "将端口改为 {theirs}，或将设备改为 {ours}"),
    ),
    "parity-errors": _Text(
        title=("parity differs, likely", "校验位可能不一致"),
        seen=(
            "the receiver counted {parity} parity errors with {ours}",
            "使用 {ours} 时接收端记录 {parity} 次校验错误",
        ),
        do=("try the other parities: even, none, odd", "尝试其他校验方式：偶校验、无校验、奇校验"),
    ),
    "garbled": _Text(
        title=(
            "something answers that is not understood: a wrong baud rate or parity",
            "有应答但无法识别：波特率或校验可能不对",
        ),
        seen=(
            "{garbled} answers were no frames with {ours}; framing errors counted: {frame}",
            "使用 {ours} 时有 {garbled} 次应答不成帧；帧错误 {frame} 次",
        ),
        do=(
            "try the other baud rates and parities: `edge-agent scan` does it on a port of its own",
            "尝试其他波特率和校验：端口空闲时可用 `edge-agent scan`",
        ),
    ),
    "head-cut": _Text(
        title=(
            "the first bytes of answers are missing: the direction is switched too late",
            "应答开头字节丢失：收发切换过晚",
        ),
        seen=(
            "{times} answers of unit {units} are whole once one to three bytes are put in front of them",
            "单元 {units} 有 {times} 次应答补上开头 1 至 3 个字节后即完整",
        ),
        do=(
            "use the kernel's RS-485 mode or an adapter with automatic direction; or a longer reply delay of the unit",
            "使用内核 RS-485 模式或自动换向转换器；或加大设备的应答延时",
        ),
    ),
    "noise-on-line": _Text(
        title=(
            "noise on the line: shield, termination or bias, or a missing common ground",
            "线路干扰：检查屏蔽、终端电阻、偏置电阻和公共地",
        ),
        seen=(
            "{damaged} of {asked} answers were damaged, at units {units}",
            "{asked} 次应答中 {damaged} 次损坏，涉及单元 {units}",
        ),
        do=(
            "120 ohm at both ends and nowhere else, the shield earthed at one end, 0 V carried along; then try a "
            "lower baud rate: if the errors vanish it is termination",
            "仅在两端各接 120 欧终端电阻，屏蔽层单端接地，连接 0 V 公共线；再降低波特率，若错误消失则为终端问题",
        ),
    ),
    "one-unit-damaged": _Text(
        title=("only unit {unit} is heard badly", "只有单元 {unit} 的应答有损坏"),
        seen=(
            "{damaged} of {asked} answers were damaged, those of others were not",
            "{asked} 次应答中 {damaged} 次损坏，其他单元正常",
        ),
        do=(
            "look at its wires, its stub and its supply; see whether a second unit has this address",
            "检查该设备的接线、分支线和供电；并确认没有另一台设备使用同一地址",
        ),
    ),
    "missing-bias": _Text(
        title=("the idle line wanders: bias is missing, likely", "空闲线路电平不稳：可能缺少偏置电阻"),
        seen=(
            "{before} of {answered} answers had bytes 00 or FF in front; {octets} bytes out of nothing in "
            "{seconds:.0f} s of silence",
            "{answered} 次应答中 {before} 次前面多出 00 或 FF；静默 {seconds:.0f} 秒内凭空出现 {octets} 个字节",
        ),
        do=(
            "one pull-up and one pull-down of 450 to 650 ohm at one place of the line",
            "在线路上一处加装 450 至 650 欧的上拉和下拉电阻各一只",
        ),
    ),
    "answers-slowly": _Text(
        title=("unit {unit} answers slowly", "单元 {unit} 应答较慢"),
        seen=("longest time from question to answer: {delay} ms", "询问到应答的最长时间：{delay} 毫秒"),
        do=(
            "no fault; its profile needs a max_reply_s above that, and shorter is possible where the device has a "
            "reply delay setting",
            "不是故障；设备描述中的 max_reply_s 须大于该值；若设备有应答延时设置，可以调小",
        ),
    ),
    "adapter-latency": _Text(
        title=("the adapter holds bytes back for up to {latency} ms", "转换器最多将数据延迟 {latency} 毫秒"),
        seen=("its latency timer is set to {latency} ms", "其延迟定时器设为 {latency} 毫秒"),
        do=(
            "set it to 1 ms: the udev rule in systemd/99-qianshao-serial.rules does it for good",
            "改为 1 毫秒：使用 systemd/99-qianshao-serial.rules 中的 udev 规则可永久生效",
        ),
    ),
    "wrong-table": _Text(
        title=(
            "unit {unit} refuses {refused} registers and has {good} registers",
            "单元 {unit} 拒绝 {refused}，但支持 {good}",
        ),
        seen=("an exception for one, a good answer for the other", "前者返回异常码，后者应答正常"),
        do=("read it with table = {good}", "读取时使用 table = {good}"),
    ),
    "silent-unit": _Text(
        title=("unit {unit} is silent while others answer", "单元 {unit} 无应答，其他设备正常"),
        seen=("units {others} answer on this line", "本线路上单元 {others} 有应答"),
        do=(
            "is it one of these ({others}) under another address? Is its supply on? Swap A and B at this device. After "
            "a change of address switch it off and on",
            "是否为其中之一（{others}）而地址不同？是否通电？尝试在该设备处对调 A、B；改地址后需断电重启",
        ),
    ),
    "silent-bus": _Text(
        title=("nobody answers and nothing is heard", "没有任何设备应答，线路上无数据"),
        seen=(
            "{searched} addresses asked with {ours}, {swept} other settings tried",
            "以 {ours} 询问了 {searched} 个地址，并尝试了 {swept} 种其他设置",
        ),
        do=(
            "supply of the devices, both wires at the gateway, then A and B swapped at the gateway, then whether "
            "the direction is switched (RS-485 mode) at all",
            "依次检查：设备供电、网关处两根接线、对调网关处 A 和 B、收发换向（RS-485 模式）是否有效",
        ),
    ),
    "healthy": _Text(
        title=("no fault seen", "未发现故障"),
        seen=(
            "units {units} answered {asked} questions without a damaged reply",
            "单元 {units} 共应答 {asked} 次询问，无损坏",
        ),
        do=("nothing to do", "无需处理"),
    ),
    "nothing-known": _Text(
        title=("nothing can be said", "无法判断"),
        seen=(
            "{octets} bytes in {seconds:.0f} s of listening, and nobody was asked",
            "监听 {seconds:.0f} 秒收到 {octets} 个字节，未询问任何设备",
        ),
        do=("name a unit with --unit", "用 --unit 指定单元"),
    ),
}


def sentences(finding: Finding, language: str) -> tuple[str, str, str]:
    """Returns what it is, what was seen and what to do, in ``en`` or ``zh``."""
    text, place = _TEXTS[finding.code], 0 if language == "en" else 1
    title, seen, do = (pair[place].format(**finding.facts) for pair in (text.title, text.seen, text.do))
    return title, seen, do


def codes() -> tuple[str, ...]:
    """Returns every finding that has words."""
    return tuple(_TEXTS)
