"""Qualities and their reasons: what a sample is worth, and why.

Every sample carries one small integer, its *quality code*.  A code stands for a quality
(``good``, ``uncertain``, ``bad``, ``missing``) and one reason.  Whether the sample has a
number at all follows from the code alone, so a codec can leave the number out and nobody
can make one up: ``good`` has a number, ``bad`` and ``missing`` never have one, and
``uncertain`` has one unless the reading is beyond the range of the instrument, or a number
computed of many samples does not stand out of them: then the fact is evidence and the number
would be invented.

Code numbers travel in signed batches and are never given a second meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Quality(StrEnum):
    """What a sample is worth."""

    GOOD = "good"
    UNCERTAIN = "uncertain"
    BAD = "bad"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityCode:
    """One quality with one reason, as it travels in a batch."""

    #: 0..255, never reused
    code: int
    quality: Quality
    #: stable word, ``[a-z0-9_]+``
    reason: str
    #: whether a sample of this code carries a number
    has_value: bool
    en: str
    zh: str


def _code(code: int, quality: Quality, reason: str, en: str, zh: str, *, has_value: bool) -> QualityCode:
    return QualityCode(code=code, quality=quality, reason=reason, has_value=has_value, en=en, zh=zh)


def _uncertain(code: int, reason: str, en: str, zh: str, *, has_value: bool = True) -> QualityCode:
    return _code(code, Quality.UNCERTAIN, reason, en, zh, has_value=has_value)


def _bad(code: int, reason: str, en: str, zh: str) -> QualityCode:
    return _code(code, Quality.BAD, reason, en, zh, has_value=False)


def _missing(code: int, reason: str, en: str, zh: str) -> QualityCode:
    return _code(code, Quality.MISSING, reason, en, zh, has_value=False)


GOOD = 0
OVER_RANGE = 16
UNDER_RANGE = 17
CALIBRATION_OVERDUE = 18
INSTRUMENT_WARNING = 19
NOT_DISTINCT = 20
FAULT = 64
WARM_UP = 65
INHIBITED = 66
NOT_A_NUMBER = 67
INVALID = 68
UNIT_MISMATCH = 69
SIMULATED = 70
CALIBRATING = 71
IMMERSED = 72
FROZEN = 73
OTHER_DEVICE = 74
IMPLAUSIBLE = 75
NOT_COMPUTABLE = 76
NO_REPLY = 128
BAD_FRAME = 129
FOREIGN_REPLY = 130
ILLEGAL_FUNCTION = 131
ILLEGAL_ADDRESS = 132
ILLEGAL_VALUE = 133
DEVICE_FAILURE = 134
DEVICE_BUSY = 135
DEVICE_EXCEPTION = 136
GATEWAY_PATH = 137
GATEWAY_TARGET = 138
PORT_CLOSED = 139
CONNECT_FAILED = 140
NOT_ASKED = 141
MISSED_TICK = 142
AGENT_STOPPED = 143
NOT_OVERHEARD = 144
OWNER_SILENT = 145

_ALL = (
    _code(GOOD, Quality.GOOD, "ok", "good", "正常", has_value=True),
    _uncertain(OVER_RANGE, "over_range", "over range", "超量程", has_value=False),
    _uncertain(UNDER_RANGE, "under_range", "under range", "低于量程", has_value=False),
    _uncertain(CALIBRATION_OVERDUE, "calibration_overdue", "calibration overdue", "校准逾期"),
    _uncertain(INSTRUMENT_WARNING, "instrument_warning", "instrument reports a warning", "仪表提示警告"),
    _uncertain(NOT_DISTINCT, "not_distinct", "nothing stands out to be shown", "无突出特征可显示", has_value=False),
    _bad(FAULT, "fault", "instrument reports a fault", "仪表故障"),
    _bad(WARM_UP, "warm_up", "instrument is warming up", "仪表预热中"),
    _bad(INHIBITED, "inhibited", "instrument is inhibited", "仪表被抑制"),
    _bad(NOT_A_NUMBER, "not_a_number", "not a number", "非数值"),
    _bad(INVALID, "invalid", "invalid value on the wire", "线上数值无效"),
    _bad(UNIT_MISMATCH, "unit_mismatch", "instrument is set to another unit", "仪表单位与配置不符"),
    _bad(SIMULATED, "simulated", "instrument simulates a value", "仪表处于模拟状态"),
    _bad(CALIBRATING, "calibrating", "calibration or bump test running", "校准或通气测试中"),
    _bad(IMMERSED, "immersed", "sensor is under water", "传感器被水淹没"),
    _bad(FROZEN, "frozen", "instrument's heartbeat stands still", "仪表心跳停滞"),
    _bad(OTHER_DEVICE, "other_device", "another device answers", "应答设备不是登记设备"),
    _bad(IMPLAUSIBLE, "implausible", "outside what is physically possible", "超出物理可能范围"),
    _bad(NOT_COMPUTABLE, "not_computable", "cannot be computed from these samples", "采样不足以计算"),
    _missing(NO_REPLY, "no_reply", "no reply", "无应答"),
    _missing(BAD_FRAME, "bad_frame", "damaged reply", "应答帧损坏"),
    _missing(FOREIGN_REPLY, "foreign_reply", "reply of another unit or function", "收到其他单元或功能的应答"),
    _missing(ILLEGAL_FUNCTION, "illegal_function", "exception 01: function not supported", "异常 01：功能码不支持"),
    _missing(ILLEGAL_ADDRESS, "illegal_address", "exception 02: no such register", "异常 02：寄存器不存在"),
    _missing(ILLEGAL_VALUE, "illegal_value", "exception 03: request refused", "异常 03：请求值被拒绝"),
    _missing(DEVICE_FAILURE, "device_failure", "exception 04: device failure", "异常 04：设备故障"),
    _missing(DEVICE_BUSY, "device_busy", "device is busy", "设备忙"),
    _missing(DEVICE_EXCEPTION, "device_exception", "device answered with an exception", "设备返回异常码"),
    _missing(GATEWAY_PATH, "gateway_path", "exception 0A: gateway has no path", "异常 0A：网关路径不可用"),
    _missing(
        GATEWAY_TARGET, "gateway_target", "exception 0B: no reply behind the gateway", "异常 0B：网关后设备无应答"
    ),
    _missing(PORT_CLOSED, "port_closed", "port is not there", "端口不可用"),
    _missing(CONNECT_FAILED, "connect_failed", "no connection to the device", "无法连接设备"),
    _missing(NOT_ASKED, "not_asked", "device is silent and was not asked", "设备静默，本次未询问"),
    _missing(MISSED_TICK, "missed_tick", "poll came too late", "错过采样时刻"),
    _missing(AGENT_STOPPED, "agent_stopped", "agent was stopped", "采集程序未运行"),
    _missing(NOT_OVERHEARD, "not_overheard", "the bus's owner did not ask for it", "总线主机未询问"),
    _missing(OWNER_SILENT, "owner_silent", "the bus's owner is silent", "总线主机静默"),
)

#: every code there is, by number
CODES: dict[int, QualityCode] = {item.code: item for item in _ALL}

#: codes whose samples carry a number
WITH_VALUE: frozenset[int] = frozenset(item.code for item in _ALL if item.has_value)

#: reason word -> code number
BY_REASON: dict[str, int] = {item.reason: item.code for item in _ALL}


def quality_of(code: int) -> Quality:
    """Returns the quality of a code; a number nobody assigned is ``bad``."""
    known = CODES.get(code)
    return known.quality if known is not None else Quality.BAD
