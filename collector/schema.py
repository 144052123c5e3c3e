"""The tables: evidence, what it is about, and the projections made from it.

    facts        meta, gateway, catalogue, boot, epoch_name, evidence, ask, commit_stamp,
                 waiting, receipt, link, acknowledgement, quarantine, checkpoint,
                 decision, review, alarm_shown, stated, notice, notice_alarm, notice_answer,
                 confirmation, document, own_alarm
    projections  epoch, chain, loss, latest, rollup, alarm, alarm_event, health, point,
                 waveform, visit, upkeep

The *evidence* table is the commit point and the raw history: signed bytes as they came.
Projections can be dropped at any time and are made again by ``collector rebuild``.

This module is the one description of the schema; migrations in ``collector/migrations``
lead to it, and a test compares the two.  The hot path speaks to SQLite directly.

Times ending in ``_us`` are microseconds: ``first_us``, ``last_us``, ``sealed_us``,
``mono_us`` are monotonic of one boot, all others are UTC.
"""

from __future__ import annotations

from sqlalchemy import (
    BLOB,
    TEXT,
    Column,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "uq": "uq_%(table_name)s",
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


def _int(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, Integer, nullable=null)


def _text(name: str, *, null: bool = False) -> Column[str]:
    return Column(name, TEXT, nullable=null)


def _blob(name: str, *, null: bool = False) -> Column[bytes]:
    return Column(name, BLOB, nullable=null)


def _number(name: str) -> Column[bytes]:
    """A count (integer) or a float, as the kind says; BLOB affinity keeps which it was."""
    return Column(name, BLOB, nullable=True)


def _no() -> Column[int]:
    return Column("no", Integer, primary_key=True)


#: collector epoch, since when, receipt serial reserved up to
meta = Table("meta", metadata, Column("key", TEXT, primary_key=True), Column("value", BLOB))

gateway = Table(
    "gateway", metadata, _no(), _text("id"), _text("en"), _text("zh"), _int("added_us"), UniqueConstraint("id")
)

#: verified catalogues, each as it was signed
catalogue = Table(
    "catalogue",
    metadata,
    _no(),
    _int("gateway_no"),
    _blob("hash"),
    _blob("envelope"),
    _int("arrived_us"),
    UniqueConstraint("gateway_no", "hash"),
)

#: one row per boot of a gateway; ``rank`` orders boots, ``bound_us`` is the least of arrival
#: minus sealing time, ``offset_us`` turns its monotonic times into UTC (trust: see walltime)
boot = Table(
    "boot",
    metadata,
    _no(),
    _int("gateway_no"),
    _blob("boot_id"),
    _int("counter"),
    _int("rank"),
    _int("live_us", null=True),
    _int("bound_us", null=True),
    _int("offset_us", null=True),
    _int("trust"),
    #: monotonic time of the anchor that the offset is from, and its half-width; None for an arrival
    _int("anchor_us", null=True),
    _int("uncertainty_ms", null=True),
    UniqueConstraint("gateway_no", "boot_id"),
)

#: number of each epoch that was ever named
epoch_name = Table(
    "epoch_name", metadata, _no(), _int("gateway_no"), _blob("epoch"), UniqueConstraint("gateway_no", "epoch")
)

#: the signed batches.  state: 0 projected, 1 waits for its catalogue, 2 refused (``code``)
evidence = Table(
    "evidence",
    metadata,
    Column("id", Integer, primary_key=True),
    _int("epoch_no"),
    _int("lane"),
    _int("seq"),
    _blob("digest"),
    _blob("previous"),
    _int("gateway_no"),
    _int("boot_no"),
    _int("catalogue_no", null=True),
    _int("state"),
    _text("code", null=True),
    _int("readings"),
    _int("sealed_us"),
    _int("first_us"),
    _int("last_us"),
    #: UTC of ``first_us`` by the offset that the projections used
    _int("wall_us"),
    _int("arrived_us"),
    _blob("envelope"),
    UniqueConstraint("epoch_no", "lane", "seq", "digest"),
)
Index("ix_evidence_wall", evidence.c.gateway_no, evidence.c.wall_us)

Index("ix_evidence_refused", evidence.c.epoch_no, evidence.c.lane, sqlite_where=evidence.c.state == text("2"))
#: data batches that wait for a catalogue, by its hash
waiting = Table(
    "waiting",
    metadata,
    Column("evidence_id", Integer, primary_key=True),
    _int("gateway_no"),
    _int("epoch_no"),
    _blob("hash"),
)

#: asks that count: the newest of each epoch, and those that told of an alarm first
ask = Table(
    "ask",
    metadata,
    Column("id", Integer, primary_key=True),
    _int("gateway_no"),
    _int("epoch_no"),
    _blob("digest"),
    _blob("envelope"),
    _int("arrived_us"),
    _int("told"),
    UniqueConstraint("digest"),
)

#: when the commit of a batch with alarm events had returned; not signed by anybody
commit_stamp = Table("commit_stamp", metadata, Column("evidence_id", Integer, primary_key=True), _int("committed_us"))

#: newest receipt given for each chain
receipt = Table(
    "receipt",
    metadata,
    _int("epoch_no"),
    _int("lane"),
    _int("serial"),
    _int("issued_us"),
    PrimaryKeyConstraint("epoch_no", "lane"),
    sqlite_with_rowid=False,
)

#: what is known of a gateway's link: newest arrival of anything verified, status, newest ask
link = Table(
    "link",
    metadata,
    Column("gateway_no", Integer, primary_key=True),
    _int("arrived_us"),
    _int("online", null=True),
    _int("session", null=True),
    _text("version", null=True),
    _text("clock", null=True),
    _int("boot_no", null=True),
    _int("epoch_no", null=True),
    _int("alarm_seq", null=True),
    _int("data_seq", null=True),
    _blob("catalogue_hash", null=True),
)

#: what people did about alarms; append only
acknowledgement = Table(
    "acknowledgement",
    metadata,
    Column("id", Integer, primary_key=True),
    _blob("alarm_id"),
    _text("by"),
    _int("at_us"),
    _text("note"),
    _text("source"),
    #: ``acknowledge`` or ``unacknowledge``
    Column("action", TEXT, nullable=False, server_default="acknowledge"),
)
Index("ix_acknowledgement_alarm_id", acknowledgement.c.alarm_id)

#: what was decided about an alarm when word of it came (``collector.measurement``); append only, the newest
#: counts, and it only ever rises.  ``id`` grows, so whoever pages reads on from the last one it has seen
decision = Table(
    "decision",
    metadata,
    Column("id", Integer, primary_key=True),
    _int("gateway_no"),
    _blob("alarm_id"),
    _text("decision"),
    _text("reason"),
    _int("arrived_us"),
)
Index("ix_decision_alarm", decision.c.gateway_no, decision.c.alarm_id)

#: alarms that were over before word of them came, and that nobody has acknowledged
review = Table(
    "review",
    metadata,
    Column("alarm_id", BLOB, primary_key=True),
    _int("gateway_no"),
    _int("arrived_us"),
    sqlite_with_rowid=False,
)

#: when an alarm first stood on a page that somebody had open
alarm_shown = Table(
    "alarm_shown",
    metadata,
    Column("alarm_id", BLOB, primary_key=True),
    _int("shown_us"),
    sqlite_with_rowid=False,
)

#: attempts to tell somebody of alarms, each written before it is made; append only.  ``by``: who asked for a test
notice = Table(
    "notice",
    metadata,
    Column("id", Integer, primary_key=True),
    _text("target"),
    _text("kind"),
    _int("at_us"),
    _int("is_possible_repeat"),
    _text("by"),
    #: how many
    _int("alarms"),
)
Index("ix_notice_at_us", notice.c.at_us)

#: the alarms of each attempt, with the severity that each was told with
notice_alarm = Table(
    "notice_alarm",
    metadata,
    _blob("alarm_id"),
    _int("notice_id"),
    _int("gateway_no"),
    _text("severity"),
    PrimaryKeyConstraint("alarm_id", "notice_id", "gateway_no"),
    sqlite_with_rowid=False,
)
Index("ix_notice_alarm_notice_id", notice_alarm.c.notice_id)

#: what became of each attempt; one without an answer may have arrived
notice_answer = Table(
    "notice_answer",
    metadata,
    Column("notice_id", Integer, primary_key=True),
    _int("at_us"),
    _text("outcome"),
    _text("detail"),
)

#: the newest statement of each gateway of all its alarms: as of when, and their ids one after the other
stated = Table(
    "stated",
    metadata,
    Column("gateway_no", Integer, primary_key=True),
    _int("boot_no"),
    _int("mono_us"),
    _int("arrived_us"),
    #: severity of the least grave one that it names; the gateway leaves less grave ones out where all do not fit
    _text("least"),
    _blob("ids"),
)

#: how the limits of each point stand, as its gateway stated last: on trial, confirmed by a letter, or none
confirmation = Table(
    "confirmation",
    metadata,
    _int("gateway_no"),
    _text("point"),
    _text("state"),
    _text("by"),
    _text("at"),
    _text("document"),
    _blob("digest"),
    #: UTC: arrival of the first statement that said so, without another in between
    _int("since_us"),
    #: of the newest statement: the boot, and when its batch was sealed
    _int("boot_no"),
    _int("mono_us"),
    PrimaryKeyConstraint("gateway_no", "point"),
    sqlite_with_rowid=False,
)
Index("ix_confirmation_state", confirmation.c.state, confirmation.c.since_us)

#: letters that people attached, by SHA-256; the bytes are files of the data directory; append only
document = Table(
    "document",
    metadata,
    Column("digest", BLOB, primary_key=True),
    _text("name"),
    _text("kind"),
    _int("size"),
    _text("by"),
    _int("at_us"),
    _text("source"),
    _text("note"),
    sqlite_with_rowid=False,
)

#: alarms that the collector raises itself (``collector.own_alarms``)
own_alarm = Table(
    "own_alarm",
    metadata,
    _int("gateway_no"),
    _blob("id"),
    _text("rule_id"),
    _text("severity"),
    _int("raised_us"),
    PrimaryKeyConstraint("gateway_no", "id"),
    sqlite_with_rowid=False,
)

#: what arrived and was not accepted, with the reason
quarantine = Table(
    "quarantine",
    metadata,
    Column("id", Integer, primary_key=True),
    _int("arrived_us"),
    _text("topic"),
    _text("code"),
    _text("reason"),
    _int("size"),
    _blob("digest"),
    _blob("bytes"),
    _int("times"),
    UniqueConstraint("digest"),
)

#: signed by the collector before old evidence is dropped; verification starts from the newest
checkpoint = Table(
    "checkpoint",
    metadata,
    Column("id", Integer, primary_key=True),
    _int("epoch_no"),
    _int("lane"),
    _int("seq"),
    _blob("digest"),
    _int("made_us"),
    _blob("envelope"),
    UniqueConstraint("epoch_no", "lane", "seq"),
)

# ---- projections ---------------------------------------------------------------------------

#: what batch 1 said of its epoch
epoch = Table(
    "epoch",
    metadata,
    Column("epoch_no", Integer, primary_key=True),
    _int("boot_no"),
    _text("version"),
    _text("reason"),
    _blob("parent", null=True),
    _int("parent_alarm_seq", null=True),
    _int("parent_data_seq", null=True),
    _int("is_volatile"),
    _int("first_arrived_us"),
    _int("last_arrived_us"),
)

#: the ledger of one lane of one epoch; ``ranges``, ``forks``, ``breaks`` are JSON
chain = Table(
    "chain",
    metadata,
    _int("epoch_no"),
    _int("lane"),
    _int("newest"),
    _int("known"),
    _int("batches"),
    _int("readings"),
    _int("first_sample_us", null=True),
    _int("last_sample_us", null=True),
    _text("ranges"),
    _text("forks"),
    _text("breaks"),
    PrimaryKeyConstraint("epoch_no", "lane"),
    sqlite_with_rowid=False,
)

loss = Table(
    "loss",
    metadata,
    _int("epoch_no"),
    _int("lane"),
    _int("first"),
    _int("last"),
    _blob("digest"),
    _int("readings"),
    _text("cause"),
    _int("evidence_id"),
    PrimaryKeyConstraint("epoch_no", "lane", "first", "last", "digest"),
    sqlite_with_rowid=False,
)

#: a point as one catalogue form: another unit, kind or resolution is another row
point = Table(
    "point",
    metadata,
    _no(),
    _int("gateway_no"),
    _text("key"),
    _text("unit"),
    _text("kind"),
    _text("resolution"),
    UniqueConstraint("gateway_no", "key", "unit", "kind", "resolution"),
)

#: newest sample of each point, and the newest that had a number
latest = Table(
    "latest",
    metadata,
    _int("gateway_no"),
    _text("key"),
    _int("point_no"),
    _int("rank"),
    _int("boot_no"),
    _int("mono_us"),
    _int("wall_us"),
    _int("code"),
    _number("value"),
    _int("number_rank", null=True),
    _int("number_boot_no", null=True),
    _int("number_mono_us", null=True),
    _int("number_wall_us", null=True),
    _number("number"),
    _int("number_point_no", null=True),
    PrimaryKeyConstraint("gateway_no", "key"),
    sqlite_with_rowid=False,
)

#: one row per point and minute (UTC minutes since 1970); numbers are counts for kind ``int``
rollup = Table(
    "rollup",
    metadata,
    _int("point_no"),
    _int("minute"),
    #: samples with a number
    _int("count"),
    #: samples without one
    _int("without"),
    _number("low"),
    _number("high"),
    _number("total"),
    _number("last"),
    #: microseconds into the minute
    _int("last_us"),
    #: quality code
    _int("worst"),
    PrimaryKeyConstraint("point_no", "minute"),
    sqlite_with_rowid=False,
)

#: one occurrence of one alarm, by the event that raised it, as its newest event states it
alarm = Table(
    "alarm",
    metadata,
    _int("gateway_no"),
    _blob("id"),
    _text("point"),
    _text("rule_id"),
    _text("severity"),
    _text("state"),
    _int("is_over"),
    _int("raised_us"),
    _blob("event_id"),
    _int("rank"),
    _int("boot_no"),
    _int("mono_us"),
    PrimaryKeyConstraint("gateway_no", "id"),
    sqlite_with_rowid=False,
)
# One for each way to page through the journal; the last columns are the order of its rows.
Index("ix_alarm_id", alarm.c.id)
Index("ix_alarm_raised", alarm.c.raised_us, alarm.c.gateway_no, alarm.c.id)
Index("ix_alarm_gateway", alarm.c.gateway_no, alarm.c.raised_us, alarm.c.id)
Index("ix_alarm_point", alarm.c.gateway_no, alarm.c.point, alarm.c.raised_us, alarm.c.id)
Index("ix_alarm_severity", alarm.c.severity, alarm.c.raised_us, alarm.c.gateway_no, alarm.c.id)
Index("ix_alarm_standing", alarm.c.is_over, alarm.c.raised_us, alarm.c.gateway_no, alarm.c.id)
#: test alarms, which are few among many
Index(
    "ix_alarm_test", alarm.c.raised_us, alarm.c.gateway_no, alarm.c.id, sqlite_where=alarm.c.rule_id == text("'test'")
)

#: every event, as it was signed (msgpack list)
alarm_event = Table(
    "alarm_event",
    metadata,
    _int("gateway_no"),
    _blob("id"),
    _blob("alarm_id"),
    _blob("event"),
    #: UTC, by the offset that was best when it came
    _int("sampled_us"),
    _int("judged_us"),
    #: None while only a statement told of it
    _int("evidence_id", null=True),
    PrimaryKeyConstraint("gateway_no", "id"),
    sqlite_with_rowid=False,
)
Index("ix_alarm_event_alarm_id", alarm_event.c.alarm_id)

health = Table(
    "health",
    metadata,
    _int("gateway_no"),
    _text("subject"),
    _int("rank"),
    _int("boot_no"),
    _int("mono_us"),
    _int("wall_us"),
    _text("facts"),
    PrimaryKeyConstraint("gateway_no", "subject"),
    sqlite_with_rowid=False,
)

#: where the waveforms lie that batches carry
waveform = Table(
    "waveform",
    metadata,
    _int("gateway_no"),
    _blob("id"),
    _text("device"),
    _text("cause"),
    _blob("alarm_id", null=True),
    _int("boot_no"),
    #: of the first sample
    _int("mono_us"),
    _int("wall_us"),
    #: from the first sample to the last one
    _int("span_us"),
    _int("ticks"),
    _int("channels"),
    _int("evidence_id"),
    PrimaryKeyConstraint("gateway_no", "id"),
    sqlite_with_rowid=False,
)
Index("ix_waveform_wall_us", waveform.c.wall_us)

#: what people proved at points: bump tests and calibrations, each once, as it was signed (msgpack list)
visit = Table(
    "visit",
    metadata,
    _int("gateway_no"),
    _blob("id"),
    _text("point"),
    _text("job"),
    _text("result"),
    _text("by"),
    #: of the batch that carries it, and when that was sealed: the order of the list.  The visit itself may be of
    #: an earlier boot, whose clock nobody need know
    _int("boot_no"),
    _int("mono_us"),
    _int("wall_us"),
    _blob("visit"),
    _int("evidence_id"),
    PrimaryKeyConstraint("gateway_no", "id"),
    sqlite_with_rowid=False,
)
Index("ix_visit_wall", visit.c.wall_us, visit.c.gateway_no, visit.c.id)
Index("ix_visit_gateway", visit.c.gateway_no, visit.c.wall_us, visit.c.id)
Index("ix_visit_point", visit.c.gateway_no, visit.c.point, visit.c.wall_us, visit.c.id)

#: the newest that each gateway stated of each point and job: when it was done last, when it is due; days as text
upkeep = Table(
    "upkeep",
    metadata,
    _int("gateway_no"),
    _text("point"),
    _text("job"),
    _int("rank"),
    _int("boot_no"),
    #: of the sealing
    _int("mono_us"),
    _int("wall_us"),
    _text("last"),
    _text("due"),
    _text("state"),
    _text("street"),
    PrimaryKeyConstraint("gateway_no", "point", "job"),
    sqlite_with_rowid=False,
)

#: dropped and made again by rebuild; compared by verify
PROJECTIONS = (
    "epoch", "chain", "loss", "point", "latest", "rollup", "alarm", "alarm_event", "health", "waveform", "visit",
    "upkeep",
)  # fmt: skip
