"""Quantities: what a point measures, in words that both languages show.

A quantity is the middle part of a point key ``device/quantity[/n]``.  The unit listed is
the usual one; a point may carry another unit of the same dimension, and a gas point
carries the unit its instrument reports.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One thing that can be measured."""

    #: key, ``[a-z0-9-]+``
    id: str
    en: str
    zh: str
    #: UCUM code usually seen
    unit: str


def _q(id: str, en: str, zh: str, unit: str) -> Quantity:
    return Quantity(id=id, en=en, zh=zh, unit=unit)


_ALL = (
    _q("ch4", "methane", "甲烷", "%{LEL}"),
    _q("gas", "combustible gas", "可燃气体", "%{LEL}"),
    _q("co", "carbon monoxide", "一氧化碳", "[ppm]"),
    _q("co2", "carbon dioxide", "二氧化碳", "[ppm]"),
    _q("h2s", "hydrogen sulphide", "硫化氢", "[ppm]"),
    _q("nh3", "ammonia", "氨", "[ppm]"),
    _q("so2", "sulphur dioxide", "二氧化硫", "[ppm]"),
    _q("no2", "nitrogen dioxide", "二氧化氮", "[ppm]"),
    _q("refrigerant", "refrigerant", "制冷剂", "[ppm]"),
    _q("o2", "oxygen", "氧气", "%{vol}"),
    _q("pressure", "pressure", "压力", "kPa"),
    _q("level", "level", "液位", "m"),
    _q("ponding", "ponding depth", "积水深度", "cm"),
    _q("distance", "distance", "距离", "m"),
    _q("flow", "flow", "流量", "m3/h"),
    _q("temperature", "temperature", "温度", "Cel"),
    _q("humidity", "relative humidity", "相对湿度", "%{RH}"),
    _q("acceleration", "acceleration", "加速度", "[g]"),
    _q("angular-rate", "angular rate", "角速度", "deg/s"),
    _q("tilt", "tilt", "倾角", "deg"),
    _q("magnetic-field", "magnetic field", "磁场", "uT"),
    _q("velocity", "vibration velocity", "振动速度", "mm/s"),
    _q("voltage", "voltage", "电压", "V"),
    _q("current", "current", "电流", "mA"),
    _q("percent", "percent of span", "量程百分比", "%"),
    _q("days-to-calibration", "days to calibration", "距校准天数", "d"),
    _q("time-to-replacement", "time to replacement", "距更换时间", "h"),
    _q("sensor-life", "remaining life of the sensor", "传感器剩余寿命", "%"),
    _q("heartbeat", "heartbeat", "心跳", "1"),
    _q("status", "status", "状态", "1"),
    _q("differential-pressure", "differential pressure", "差压", "Pa"),
    _q("atmospheric-pressure", "atmospheric pressure", "大气压", "kPa"),
    _q("liquid", "liquid present", "液体有无", "1"),
    _q("echo", "echo strength", "回波强度", "dB"),
    _q("conductivity", "electrical conductivity", "电导率", "uS/cm"),
    _q("flow-velocity", "flow velocity", "流速", "m/s"),
    _q("frequency", "frequency", "频率", "Hz"),
    _q("displacement", "vibration displacement", "振动位移", "um"),
    _q("input", "digital input", "开关量输入", "1"),
    _q("output", "digital output", "开关量输出", "1"),
    _q("pulses", "pulse count", "脉冲计数", "1"),
    _q("wind-speed", "wind speed", "风速", "m/s"),
    _q("wind-direction", "wind direction", "风向", "deg"),
    _q("rain", "rainfall", "雨量", "mm"),
    _q("illuminance", "illuminance", "光照度", "lx"),
    _q("noise", "noise level", "噪声", "dB"),
    _q("pm2-5", "particles up to 2.5 µm", "细颗粒物 PM2.5", "ug/m3"),
    _q("pm10", "particles up to 10 µm", "可吸入颗粒物 PM10", "ug/m3"),
    _q("data-age", "age of the instrument's reading", "读数时龄", "s"),
    _q("own-alarm", "instrument's own alarm", "仪表自身报警", "1"),
    _q("own-warning", "instrument's own warning", "仪表自身警告", "1"),
    _q("own-fault", "instrument's own fault", "仪表自身故障", "1"),
    _q("raw", "raw value", "原始值", "1"),
)

#: every quantity there is, by key
QUANTITIES: dict[str, Quantity] = {item.id: item for item in _ALL}

#: keys of what a gas head tells
GASES: frozenset[str] = frozenset({"gas", "ch4", "co", "co2", "h2s", "nh3", "so2", "no2", "refrigerant", "o2"})
