"""One fixed example of everything that crosses the wire, for the vectors and the tests.

A gas well and a water main; the numbers are examples, not recommendations.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction

from cryptography.hazmat.primitives.asymmetric import ec

from contracts.batch import (
    NO_HEAD,
    AlarmEvent,
    Anchor,
    Batch,
    ClockState,
    Genesis,
    Head,
    Header,
    HealthRecord,
    Lane,
    LossRecord,
    Note,
    Origin,
    Parent,
    Statement,
    event_id,
)
from contracts.catalogue import Catalogue, CatalogueBlock, CatalogueDevice, CatalogueLimit, CataloguePoint
from contracts.columns import Columns, encode_block
from contracts.confirmed import Confirmed
from contracts.inhibit import Inhibit
from contracts.keys import Signer
from contracts.messages import WATCH, Ask, Command, Status, Time
from contracts.quality import CALIBRATION_OVERDUE, GOOD, NO_REPLY, OVER_RANGE
from contracts.receipt import Range, Receipt, Refused
from contracts.upkeep import Upkeep
from contracts.visit import Visit, visit_id
from contracts.waveform import WaveChannel, Waveform, waveform_id

#: never used outside the tests: everybody can read them here
ED25519_SEED = bytes(range(32))
P256_SCALAR = int.from_bytes(hashlib.sha256(b"qianshao vectors").digest(), "big") >> 1

ED25519 = Signer.from_seed(ED25519_SEED)
P256 = Signer(ec.derive_private_key(P256_SCALAR, ec.SECP256R1()))
SIGNERS = {"ed25519": ED25519, "p256": P256}

GATEWAY = ED25519.public.gateway_id
EPOCH, OLD_EPOCH = bytes.fromhex("0102030405060708"), bytes.fromhex("f1f2f3f4f5f6f7f8")
BOOT = bytes(range(16))
NONCE = bytes(range(100, 116))
RULE, PROFILE = hashlib.sha256(b"rule").digest(), hashlib.sha256(b"profile").digest()
SEALED_US = 86_400_000_000
WALL_US = 1_750_000_000_000_000
VERSION = "0.1.0"


def digest_of(word: str) -> bytes:
    """A hash to stand for that of some other batch."""
    return hashlib.sha256(word.encode()).digest()


CATALOGUE = Catalogue(
    gateway=GATEWAY,
    en="North gate",
    zh="北门",
    devices=(
        CatalogueDevice(
            id="well-1",
            en="Gas well 1",
            zh="燃气井 1",
            port="bus-1",
            unit_id=17,
            profile="gas-head-g17",
            profile_hash=PROFILE,
            serial="A0042",
        ),
        CatalogueDevice(
            id="main-1",
            en="Water main 1",
            zh="供水管 1",
            port="bus-1",
            unit_id=3,
            profile="keller-30",
            profile_hash=PROFILE,
        ),
    ),
    points=(
        CataloguePoint(
            key="well-1/ch4",
            quantity="ch4",
            unit="%{LEL}",
            kind="int",
            resolution=Fraction(1, 10),
            low=0.0,
            high=100.0,
            longest_silence_ms=5000,
            device=0,
            en="Methane",
            zh="甲烷",
            limits=(
                CatalogueLimit(
                    rule_id="ch4-high",
                    rule_hash=RULE,
                    direction="high",
                    value=25.0,
                    severity="red",
                    scheme="example",
                    en="high",
                    zh="高报",
                ),
            ),
        ),
        CataloguePoint(
            key="well-1/temperature",
            quantity="temperature",
            unit="Cel",
            kind="int",
            resolution=Fraction(1),
            low=None,
            high=None,
            longest_silence_ms=5000,
            device=0,
            en="Temperature",
            zh="温度",
        ),
        CataloguePoint(
            key="main-1/pressure/1",
            quantity="pressure",
            unit="bar",
            kind="f32",
            resolution=Fraction(1),
            low=0.0,
            high=10.0,
            longest_silence_ms=10_000,
            device=1,
            en="Pressure",
            zh="压力",
        ),
    ),
    blocks=(
        CatalogueBlock(points=(0, 1), interval_ms=1000, phase_ms=0),
        CatalogueBlock(points=(2,), interval_ms=2000, phase_ms=500),
    ),
)

WELL_BLOCK = encode_block(
    0,
    CATALOGUE.kinds[0],
    SEALED_US,
    [SEALED_US - 2_000_000, SEALED_US - 1_000_000, SEALED_US + 500],
    [(250, 21), (251, None), (None, 22)],
    [None, (GOOD, NO_REPLY), (OVER_RANGE, CALIBRATION_OVERDUE)],
)
MAIN_BLOCK = encode_block(1, CATALOGUE.kinds[1], SEALED_US, [SEALED_US - 1_500_000], [(4.25,)], [None])

ANCHOR = Anchor(mono_us=86_399_000_000, wall_us=WALL_US, state=ClockState.SYNCHRONISED, uncertainty_ms=12)
UNSET_ANCHOR = Anchor(mono_us=1_000_000, wall_us=0, state=ClockState.UNSET, uncertainty_ms=None)
GENESIS = Genesis(
    version=VERSION,
    reason="restart",
    parent=Parent(epoch=OLD_EPOCH, alarm=NO_HEAD, data=Head(seq=900, digest=digest_of("old data 900"))),
)
FIRST_GENESIS = Genesis(version=VERSION, reason="first", parent=None)


def header(lane: Lane, seq: int, **changes: object) -> Header:
    """The header of the example batch ``seq``; keyword arguments replace fields."""
    fields: dict[str, object] = {
        "gateway": GATEWAY,
        "epoch": EPOCH,
        "lane": lane,
        "seq": seq,
        "previous": b"" if seq == 1 else digest_of(f"{lane.name} {seq - 1}"),
        "other": NO_HEAD,
        "boot_id": BOOT,
        "boot_counter": 3,
        "sealed_us": SEALED_US,
        "anchors": (ANCHOR,),
        "catalogue": b"",
        "origin": Origin.LIVE,
        "readings": 0,
        "genesis": FIRST_GENESIS if seq == 1 else None,
    } | changes
    return Header(**fields)  # type: ignore[arg-type]


EVENT = AlarmEvent(
    id=event_id(GATEWAY, BOOT, "well-1/ch4", RULE, "active", SEALED_US - 1_000_000),
    raised_by=event_id(GATEWAY, BOOT, "well-1/ch4", RULE, "active", SEALED_US - 1_000_000),
    boot_id=BOOT,
    point="well-1/ch4",
    quantity="ch4",
    unit="%{LEL}",
    en="Methane",
    zh="甲烷",
    rule_id="ch4-high",
    rule_hash=RULE,
    rule_en="high",
    rule_zh="高报",
    severity="red",
    scheme="example",
    state="active",
    cause="limit",
    limit=25.0,
    value=25.1,
    code=GOOD,
    sampled_us=SEALED_US - 1_000_000,
    judged_us=SEALED_US - 990_000,
    marks=("uncalibrated",),
)
STATEMENT = Statement(mono_us=SEALED_US, events=(EVENT,))
HEALTH = HealthRecord(
    subject="device/well-1",
    mono_us=SEALED_US,
    facts=(("polls", 3600), ("latency_ms", 31.5), ("last_error", "no_reply"), ("serial", None)),
)
LOSS = LossRecord(
    epoch=OLD_EPOCH,
    lane=Lane.DATA,
    first=100,
    last=199,
    digest=digest_of("old data 199"),
    readings=4000,
    cause="thinned",
    thinned_into=(EPOCH, 7),
)
NOTE = Note(mono_us=SEALED_US, kind="reload", text="配置已重新加载 / configuration reloaded")

WAVE_BEGIN_US = SEALED_US - 4_000_000
#: two axes of an accelerometer; the second request got no reply
WAVEFORM = Waveform(
    id=waveform_id(GATEWAY, BOOT, "pier-3", WAVE_BEGIN_US),
    device="pier-3",
    cause="alarm",
    event=EVENT.raised_by,
    begin_us=WAVE_BEGIN_US,
    channels=tuple(
        WaveChannel(
            point=f"pier-3/acceleration/{axis}",
            quantity="acceleration",
            unit="[g]",
            kind="int",
            resolution=Fraction(1, 2048),
            en=f"Pier 3 acceleration {axis.upper()}",
            zh=f"3号墩 {axis.upper()} 轴加速度",
        )
        for axis in "xz"
    ),
    columns=Columns(
        0,
        [WAVE_BEGIN_US, WAVE_BEGIN_US + 20_000, WAVE_BEGIN_US + 40_040],
        [[1, None, 3], [2047, None, 2046]],
        [[GOOD, NO_REPLY, GOOD], [GOOD, NO_REPLY, GOOD]],
    ),
)

#: a point that is being worked on, and one whose inhibit was ended before its time
INHIBITS = (
    Inhibit(
        point="well-7/ch4",
        since_us=SEALED_US - 60_000_000,
        until_us=SEALED_US + 1_740_000_000,
        reason="bump test / 通气测试",
        by="Technician A",
    ),
    Inhibit(
        point="main-1/pressure",
        since_us=SEALED_US - 90_000_000,
        until_us=SEALED_US - 30_000_000,
        reason="maintenance",
        by="Technician B",
    ),
)

#: a bump test that passed; a calibration that the end of the agent interrupted, in an earlier boot
VISITS = (
    Visit(
        id=visit_id(GATEWAY, BOOT, "well-1/ch4", SEALED_US - 300_000_000),
        boot_id=BOOT,
        point="well-1/ch4",
        job="bump",
        began_us=SEALED_US - 300_000_000,
        ended_us=SEALED_US - 120_000_000,
        by="Technician A",
        result="passed",
        reason="",
        unit="%{LEL}",
        zero=0.0,
        applied=50.0,
        peak=49.5,
        t90_us=18_000_000,
        return_us=31_000_000,
        t90_limit_us=30_000_000,
        return_limit_us=60_000_000,
        serial="A0042",
        note="现场通气 / gas on site",
    ),
    Visit(
        id=visit_id(GATEWAY, bytes(range(16, 32)), "well-7/o2", 7_000_000),
        boot_id=bytes(range(16, 32)),
        point="well-7/o2",
        job="calibration",
        began_us=7_000_000,
        ended_us=7_000_000,
        by="Technician B",
        result="interrupted",
        reason="agent ended",
        unit="%",
        zero=None,
        applied=None,
        peak=None,
        t90_us=None,
        return_us=None,
        t90_limit_us=None,
        return_limit_us=None,
        serial="",
        note="",
    ),
)
#: a point in order, and one that nobody ever tested
UPKEEP = (
    Upkeep(
        point="well-1/ch4",
        job="bump",
        last="2026-06-01",
        due="2026-08-30",
        state="current",
        street="人民路 / People's Road",
    ),
    Upkeep(point="well-7/o2", job="calibration", last="", due="", state="never", street=""),
)

#: one point on trial, two that one letter confirms, and one without limits
CONFIRMED = (
    Confirmed(state="trial", points=("well-1/ch4",)),
    Confirmed(
        state="confirmed",
        by="Owner A / 业主",
        at="2026-11-20",
        document="limits.pdf",
        digest=bytes(range(32)),
        points=("main-1/pressure", "main-2/pressure"),
    ),
    Confirmed(state="none", points=("well-1/temperature",)),
)

#: every section of the first version in one batch; later ones have batches of their own
FULL_BATCH = Batch(
    header=header(
        Lane.DATA,
        7,
        catalogue=CATALOGUE.hash,
        readings=7,
        other=Head(seq=2, digest=digest_of("ALARM 2")),
        anchors=(UNSET_ANCHOR, ANCHOR),
        origin=Origin.THINNED,
    ),
    blocks=(WELL_BLOCK, MAIN_BLOCK),
    events=(EVENT,),
    statement=STATEMENT,
    health=(HEALTH,),
    losses=(LOSS,),
    notes=(NOTE,),
)
BATCHES = {
    "data-first": Batch(header=header(Lane.DATA, 1)),
    "data-after-restart": Batch(header=header(Lane.DATA, 1, genesis=GENESIS, anchors=(UNSET_ANCHOR,))),
    "data-blocks": Batch(
        header=header(Lane.DATA, 2, catalogue=CATALOGUE.hash, readings=7), blocks=(WELL_BLOCK, MAIN_BLOCK)
    ),
    "data-full": FULL_BATCH,
    "data-loss": Batch(header=header(Lane.DATA, 8, anchors=()), losses=(LOSS,)),
    "data-waveform": Batch(header=header(Lane.DATA, 9), waveforms=(WAVEFORM,)),
    "data-inhibits": Batch(header=header(Lane.DATA, 10), inhibits=INHIBITS),
    "data-visits": Batch(header=header(Lane.DATA, 11), visits=VISITS),
    "data-upkeep": Batch(header=header(Lane.DATA, 12), upkeep=UPKEEP),
    "data-confirmed": Batch(header=header(Lane.DATA, 13), confirmed=CONFIRMED),
    "alarm-first": Batch(header=header(Lane.ALARM, 1, other=Head(seq=6, digest=digest_of("DATA 6"))), events=(EVENT,)),
    "alarm-volatile": Batch(header=header(Lane.ALARM, 2, origin=Origin.VOLATILE), events=(EVENT,)),
}
ASK = Ask(
    gateway=GATEWAY,
    epoch=EPOCH,
    boot_id=BOOT,
    boot_counter=3,
    nonce=NONCE,
    anchor=ANCHOR,
    alarm=Head(seq=2, digest=digest_of("ALARM 2")),
    data=Head(seq=7, digest=digest_of("DATA 7")),
    unreceipted=(OLD_EPOCH, EPOCH),
    statement=STATEMENT,
    version=VERSION,
)
STATUS = Status(gateway=GATEWAY, epoch=EPOCH, session=1, online=True, version=VERSION)
TIME = Time(gateway=GATEWAY, nonce=NONCE, wall_us=WALL_US)
COMMAND = Command(
    gateway=GATEWAY, boot_id=BOOT, serial=WALL_US, until_us=SEALED_US + 600_000_000, word=WATCH, by="page 127.0.0.1"
)
RECEIPT = Receipt(
    gateway=GATEWAY,
    collector_epoch=bytes(range(8, 16)),
    collector_since_us=WALL_US - 1,
    serial=5,
    epoch=EPOCH,
    lane=Lane.DATA,
    contiguous=42,
    digest=digest_of("DATA 42"),
    also=(Range(first=50, last=60, digest=digest_of("DATA 60")), Range(first=70, last=70, digest=digest_of("DATA 70"))),
    refused=(Refused(seq=13, digest=digest_of("DATA 13"), code="payload"),),
    wanted=(CATALOGUE.hash,),
    issued_us=WALL_US,
)
EMPTY_RECEIPT = Receipt(
    gateway=GATEWAY,
    collector_epoch=bytes(range(8, 16)),
    collector_since_us=WALL_US - 1,
    serial=1,
    epoch=EPOCH,
    lane=Lane.ALARM,
    contiguous=0,
    digest=b"",
)
