"""What takes a maintainer to an instrument: the probable cause, and what to bring.

A table, and nothing else: who calls finds out *that* something is found (``Finding``), groups it by street
and sorts it.  A cause is probable, never certain: it is common maintenance knowledge of such
instruments, for lines the same as in docs/line-tools.md, and no published table.  Over range asks for a zero check
because a catalytic bead may read falsely low after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from contracts.quantities import GASES, QUANTITIES

#: (en, zh)
Words = tuple[str, str]


class Finding(StrEnum):
    """What was found, the gravest first."""

    GATEWAY_SILENT = "gateway_silent"
    DEVICE_SILENT = "device_silent"
    POINT_SILENT = "point_silent"
    SENSOR_FAULT = "sensor_fault"
    OVER_RANGE_LATCHED = "over_range_latched"
    IDENTITY_CHANGED = "identity_changed"
    BUMP_FAILED = "bump_failed"
    CALIBRATION_FAILED = "calibration_failed"
    CALIBRATION_OVERDUE = "calibration_overdue"
    BUMP_OVERDUE = "bump_overdue"
    CALIBRATION_DUE = "calibration_due"
    BUMP_DUE = "bump_due"
    NEVER_CALIBRATED = "never_calibrated"
    NEVER_BUMPED = "never_bumped"
    NEVER_COMMISSIONED = "never_commissioned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """One reason to go there."""

    finding: Finding
    #: 0 is the gravest
    rank: int
    #: what was found
    what: Words
    #: why, probably
    cause: Words
    #: what to take along
    bring: tuple[Words, ...]


_RANKS: Mapping[Finding, int] = MappingProxyType({finding: rank for rank, finding in enumerate(Finding)})

_METER = ("multimeter", "万用表")
_LAPTOP = ("laptop with an RS-485 adapter", "带 RS-485 转换器的笔记本电脑")
_SPARE_HEAD = ("a spare head of the same type", "同型号备用探头")
_SPARE_UNIT = ("a spare instrument of the same type", "同型号备用仪表")
_CLEAN_AIR = ("zero air or a place with clean air", "零点气或洁净空气环境")
_CAP = ("calibration cap, hose and flow regulator", "标定罩、软管与减压阀")
_PORTABLE = ("a portable gas detector for the person", "人员随身便携式气体检测仪")
_REFERENCE = ("a reference instrument with a valid certificate", "检定有效的标准器")
_PAPERS = ("the instrument's certificate and manual", "仪表证书与说明书")
_SIM = ("a SIM card and an antenna to try", "备用 SIM 卡与天线")
_SUPPLY = ("a spare power supply and fuses", "备用电源与保险")
_PUMP = ("a pump, and a sealing kit", "抽水泵与密封材料")

_NO_SUPPLY: tuple[Words, tuple[Words, ...]] = (
    ("probably no supply, or the line is cut or its plug loose", "可能断电、线路中断或接头松脱"),
    (_METER, _LAPTOP, _SPARE_UNIT),
)
_REFUSES: tuple[Words, tuple[Words, ...]] = (
    ("the device refuses the request: probably another type or firmware", "设备拒绝请求，型号或固件可能不符"),
    (_LAPTOP, _PAPERS),
)
_OTHER: tuple[Words, tuple[Words, ...]] = (
    (
        "somebody replaced the unit, or two lines are swapped; accept it with `edge-agent replace`",
        "设备被更换或线路接错；确认后用 `edge-agent replace` 登记",
    ),
    (_LAPTOP, _PAPERS),
)

_WHAT: Mapping[Finding, Words] = MappingProxyType(
    {
        Finding.GATEWAY_SILENT: ("the gateway is silent", "网关静默"),
        Finding.DEVICE_SILENT: ("the device is silent", "设备静默"),
        Finding.POINT_SILENT: ("the point is silent", "测点静默"),
        Finding.SENSOR_FAULT: ("the readings are bad", "读数为坏值"),
        Finding.OVER_RANGE_LATCHED: ("over range, latched", "超量程报警已锁存"),
        Finding.IDENTITY_CHANGED: ("another unit answers than the declared one", "应答设备不是登记设备"),
        Finding.BUMP_FAILED: ("the last bump test failed", "上次通气测试未通过"),
        Finding.CALIBRATION_FAILED: ("the last calibration failed", "上次校准未通过"),
        Finding.CALIBRATION_OVERDUE: ("calibration overdue", "校准逾期"),
        Finding.BUMP_OVERDUE: ("bump test overdue", "通气测试逾期"),
        Finding.CALIBRATION_DUE: ("calibration due", "校准到期"),
        Finding.BUMP_DUE: ("bump test due", "通气测试到期"),
        Finding.NEVER_CALIBRATED: ("no calibration is known", "无校准记录"),
        Finding.NEVER_BUMPED: ("no bump test is known", "无通气测试记录"),
        Finding.NEVER_COMMISSIONED: ("never commissioned", "尚未投用验收"),
    }
)

#: finding -> probable cause, what to bring; gas heads get gas as well
_USUAL: Mapping[Finding, tuple[Words, tuple[Words, ...]]] = MappingProxyType(
    {
        Finding.GATEWAY_SILENT: (
            ("probably no power, or no network", "可能断电或断网"),
            (_METER, _SUPPLY, _SIM, _LAPTOP),
        ),
        Finding.DEVICE_SILENT: _NO_SUPPLY,
        Finding.POINT_SILENT: (
            ("the device answers, and not for this register", "设备有应答，但不返回该寄存器"),
            (_LAPTOP, _PAPERS),
        ),
        Finding.SENSOR_FAULT: (
            ("the sensor or its wiring is probably broken", "传感器或接线可能损坏"),
            (_METER, _SPARE_HEAD),
        ),
        Finding.OVER_RANGE_LATCHED: (
            (
                "a high concentration, or a bead that was harmed by one; the zero has to be checked",
                "曾遇高浓度，或元件因此受损；须检查零点",
            ),
            (_CLEAN_AIR, _SPARE_HEAD),
        ),
        Finding.IDENTITY_CHANGED: _OTHER,
        Finding.BUMP_FAILED: (
            ("the head is worn or poisoned, or its inlet is blocked", "探头老化、中毒或进气口堵塞"),
            (_SPARE_HEAD, ("a new filter for the inlet", "进气口滤片")),
        ),
        Finding.CALIBRATION_FAILED: (
            ("the sensor has drifted further than it can be set", "传感器漂移超出可调范围"),
            (_SPARE_HEAD, _PAPERS),
        ),
        Finding.CALIBRATION_OVERDUE: (
            ("nobody has calibrated it in time; its values count as uncertain", "未按期校准，其读数按存疑处理"),
            (_PAPERS,),
        ),
        Finding.BUMP_OVERDUE: (("nobody has tested it in time", "未按期通气测试"), ()),
        Finding.CALIBRATION_DUE: (("its time has come", "到期"), (_PAPERS,)),
        Finding.BUMP_DUE: (("its time has come", "到期"), ()),
        Finding.NEVER_CALIBRATED: (
            ("nobody has noted a calibration on this gateway", "本网关尚无校准记录"),
            (_PAPERS,),
        ),
        Finding.NEVER_BUMPED: (("nobody has noted a bump test on this gateway", "本网关尚无通气测试记录"), ()),
        Finding.NEVER_COMMISSIONED: (
            (
                "nobody has tried its alarm up to the centre: `edge-agent commission`",
                "报警到中心的通路未经验证：`edge-agent commission`",
            ),
            (_LAPTOP,),
        ),
    }
)

#: reason word of the newest sample -> probable cause, what to bring, for findings of bad or absent readings
_BY_REASON: Mapping[str, tuple[Words, tuple[Words, ...]]] = MappingProxyType(
    {
        "fault": (("the instrument itself reports a fault", "仪表自报故障"), (_SPARE_HEAD, _PAPERS)),
        "warm_up": (
            ("warming up for too long: probably its supply comes and goes", "预热过久，供电可能时断时续"),
            (_METER, _SUPPLY),
        ),
        "inhibited": (("somebody left the instrument inhibited", "仪表被置于抑制状态未恢复"), (_PAPERS,)),
        "not_a_number": (
            ("the sensor gives no number: probably broken or unplugged", "传感器无数值，可能损坏或未接"),
            (_METER, _SPARE_HEAD),
        ),
        "invalid": (
            ("the sensor's signal is out of its limits: probably a broken wire", "信号越界，可能断线"),
            (_METER, _SPARE_HEAD),
        ),
        "unit_mismatch": (("the instrument was set to another unit", "仪表单位被改动"), (_PAPERS, _LAPTOP)),
        "simulated": (("somebody left the instrument in simulation", "仪表处于模拟状态未恢复"), (_PAPERS,)),
        "calibrating": (("somebody left the instrument in calibration", "仪表处于校准状态未恢复"), (_PAPERS,)),
        "immersed": (("the sensor stands in water", "传感器被水淹没"), (_PUMP, _SPARE_HEAD)),
        "frozen": (
            ("the instrument answers and measures nothing: restart it", "仪表有应答但不再测量，须重启"),
            (_SPARE_UNIT,),
        ),
        "other_device": _OTHER,
        "implausible": (
            (
                "a value that cannot be: probably interference or a wrong profile",
                "数值不可能，可能受干扰或设备描述不符",
            ),
            (_LAPTOP, _PAPERS),
        ),
        "no_reply": _NO_SUPPLY,
        "not_asked": _NO_SUPPLY,
        "bad_frame": (
            ("replies arrive damaged: termination, screen or a second master", "应答帧损坏：终端电阻、屏蔽或另有主站"),
            (_LAPTOP, ("120 ohm resistor", "120 欧终端电阻"), _METER),
        ),
        "foreign_reply": (
            ("two units have one address, or a second master asks", "地址重复或另有主站"),
            (_LAPTOP, _PAPERS),
        ),
        "illegal_function": _REFUSES,
        "illegal_address": _REFUSES,
        "illegal_value": _REFUSES,
        "device_failure": (("the device reports that it failed", "设备报告自身故障"), (_SPARE_UNIT, _PAPERS)),
        "gateway_path": (("the serial server is set up wrongly", "串口服务器配置错误"), (_LAPTOP, _PAPERS)),
        "gateway_target": (
            (
                "the serial server answers, the device behind it does not: its supply or its line",
                "串口服务器正常，其后设备无应答：供电或线路",
            ),
            (_METER, _LAPTOP, _SPARE_UNIT),
        ),
        "port_closed": (
            ("the serial adapter is gone from the gateway", "网关串口转换器脱落"),
            (("a spare RS-485 adapter", "备用 RS-485 转换器"), _LAPTOP),
        ),
        "connect_failed": (
            ("nobody accepts the connection: supply, network cable or address", "无法建立连接：供电、网线或地址"),
            (_METER, ("network cable", "网线"), _LAPTOP),
        ),
        "not_overheard": (("the bus's owner no longer asks for it", "总线主机不再询问该测点"), (_LAPTOP, _PAPERS)),
        "owner_silent": (("the controller that owns the bus is silent", "总线主机静默"), (_METER, _LAPTOP)),
    }
)

_BY_SAMPLE = frozenset({Finding.DEVICE_SILENT, Finding.POINT_SILENT, Finding.SENSOR_FAULT})
_BY_VISIT = frozenset({Finding.BUMP_FAILED, Finding.CALIBRATION_FAILED})
#: findings that a person settles with gas at a gas head
_WITH_GAS = frozenset(
    {
        Finding.OVER_RANGE_LATCHED,
        Finding.BUMP_FAILED,
        Finding.CALIBRATION_FAILED,
        Finding.CALIBRATION_OVERDUE,
        Finding.BUMP_OVERDUE,
        Finding.CALIBRATION_DUE,
        Finding.BUMP_DUE,
        Finding.NEVER_CALIBRATED,
        Finding.NEVER_BUMPED,
        Finding.NEVER_COMMISSIONED,
    }
)
_COMPARED = frozenset(
    {
        Finding.CALIBRATION_FAILED,
        Finding.CALIBRATION_OVERDUE,
        Finding.CALIBRATION_DUE,
        Finding.NEVER_CALIBRATED,
    }
)


def errand_of(finding: Finding, *, quantity: str = "", reason: str = "") -> Errand:
    """Returns what is to be said of a finding.

    Args:
        quantity: key of ``contracts.quantities``; a gas point needs gas.  Empty or unknown: of no particular one.
        reason: word of ``contracts.quality`` of the newest sample, for bad and absent readings; of a visit that
            failed what its record says, such as ``lost: no_reply``; empty: not known.
    """
    cause, bring = _USUAL[finding]
    if finding in _BY_SAMPLE:
        cause, bring = _BY_REASON.get(reason, (cause, bring))
    elif finding in _BY_VISIT:
        # A test that fails for want of readings says nothing of the head.
        cause, bring = _BY_REASON.get(reason.partition(": ")[2], (cause, bring))
    if quantity in GASES:
        if finding in _WITH_GAS:
            bring = (_span_gas(quantity), _CAP, *bring)
        if finding is not Finding.GATEWAY_SILENT:
            bring = (*bring, _PORTABLE)
    elif finding in _COMPARED:
        bring = (_REFERENCE, *bring)
    return Errand(finding=finding, rank=_RANKS[finding], what=_WHAT[finding], cause=cause, bring=bring)


def _span_gas(quantity: str) -> Words:
    if quantity == "o2":
        return "nitrogen, and clean air", "氮气与洁净空气"
    if quantity == "gas":
        return "span gas that the head is made for", "与探头适用气种一致的标准气"
    known = QUANTITIES[quantity]
    return f"span gas: {known.en}", f"标准气：{known.zh}"
