"""The projections: tables that are made from the evidence alone.

    epoch, chain, loss, point, latest, rollup, alarm, alarm_event, health, waveform, visit, upkeep, inhibit

They can be dropped at any time: ``collector rebuild`` drops them and makes them again, and ``collector verify``
makes them beside and compares.  Times: ``schema``.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, PrimaryKeyConstraint, Table, UniqueConstraint, text

from collector.schema_columns import integer, metadata, number, octets, row_number, words

#: what batch 1 said of its epoch
epoch = Table(
    "epoch",
    metadata,
    Column("epoch_no", Integer, primary_key=True),
    integer("boot_no"),
    words("version"),
    words("reason"),
    octets("parent", null=True),
    integer("parent_alarm_seq", null=True),
    integer("parent_data_seq", null=True),
    integer("is_volatile"),
    integer("first_arrived_us"),
    integer("last_arrived_us"),
)

#: the ledger of one lane of one epoch; ``ranges``, ``forks``, ``breaks`` are JSON
chain = Table(
    "chain",
    metadata,
    integer("epoch_no"),
    integer("lane"),
    integer("newest"),
    integer("known"),
    integer("batches"),
    integer("readings"),
    integer("first_sample_us", null=True),
    integer("last_sample_us", null=True),
    words("ranges"),
    words("forks"),
    words("breaks"),
    PrimaryKeyConstraint("epoch_no", "lane"),
    sqlite_with_rowid=False,
)

loss = Table(
    "loss",
    metadata,
    integer("epoch_no"),
    integer("lane"),
    integer("first"),
    integer("last"),
    octets("digest"),
    integer("readings"),
    words("cause"),
    integer("evidence_id"),
    PrimaryKeyConstraint("epoch_no", "lane", "first", "last", "digest"),
    sqlite_with_rowid=False,
)

#: a point as one catalogue form: another unit, kind or resolution is another row
point = Table(
    "point",
    metadata,
    row_number(),
    integer("gateway_no"),
    words("key"),
    words("unit"),
    words("kind"),
    words("resolution"),
    UniqueConstraint("gateway_no", "key", "unit", "kind", "resolution"),
)

#: newest sample of each point, and the newest that had a number
latest = Table(
    "latest",
    metadata,
    integer("gateway_no"),
    words("key"),
    integer("point_no"),
    integer("rank"),
    integer("boot_no"),
    integer("mono_us"),
    integer("wall_us"),
    integer("code"),
    number("value"),
    integer("number_rank", null=True),
    integer("number_boot_no", null=True),
    integer("number_mono_us", null=True),
    integer("number_wall_us", null=True),
    number("number"),
    integer("number_point_no", null=True),
    PrimaryKeyConstraint("gateway_no", "key"),
    sqlite_with_rowid=False,
)

#: one row per point and minute (UTC minutes since 1970); numbers are counts for kind ``int``
rollup = Table(
    "rollup",
    metadata,
    integer("point_no"),
    integer("minute"),
    #: samples with a number
    integer("count"),
    #: samples without one
    integer("without"),
    number("low"),
    number("high"),
    number("total"),
    number("last"),
    #: microseconds into the minute
    integer("last_us"),
    #: quality code
    integer("worst"),
    PrimaryKeyConstraint("point_no", "minute"),
    sqlite_with_rowid=False,
)

#: one occurrence of one alarm, by the event that raised it, as its newest event states it
alarm = Table(
    "alarm",
    metadata,
    integer("gateway_no"),
    octets("id"),
    words("point"),
    words("rule_id"),
    words("severity"),
    words("state"),
    integer("is_over"),
    integer("raised_us"),
    octets("event_id"),
    integer("rank"),
    integer("boot_no"),
    integer("mono_us"),
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
    integer("gateway_no"),
    octets("id"),
    octets("alarm_id"),
    octets("event"),
    #: UTC, by the offset that was best when it came
    integer("sampled_us"),
    integer("judged_us"),
    #: None while only a statement told of it
    integer("evidence_id", null=True),
    PrimaryKeyConstraint("gateway_no", "id"),
    sqlite_with_rowid=False,
)
Index("ix_alarm_event_alarm_id", alarm_event.c.alarm_id)

health = Table(
    "health",
    metadata,
    integer("gateway_no"),
    words("subject"),
    integer("rank"),
    integer("boot_no"),
    integer("mono_us"),
    integer("wall_us"),
    words("facts"),
    PrimaryKeyConstraint("gateway_no", "subject"),
    sqlite_with_rowid=False,
)

#: where the waveforms lie that batches carry
waveform = Table(
    "waveform",
    metadata,
    integer("gateway_no"),
    octets("id"),
    words("device"),
    words("cause"),
    octets("alarm_id", null=True),
    integer("boot_no"),
    #: of the first sample
    integer("mono_us"),
    integer("wall_us"),
    #: from the first sample to the last one
    integer("span_us"),
    integer("ticks"),
    integer("channels"),
    integer("evidence_id"),
    PrimaryKeyConstraint("gateway_no", "id"),
    sqlite_with_rowid=False,
)
Index("ix_waveform_wall_us", waveform.c.wall_us)

#: what people proved at points: bump tests and calibrations, each once, as it was signed (msgpack list)
visit = Table(
    "visit",
    metadata,
    integer("gateway_no"),
    octets("id"),
    words("point"),
    words("job"),
    words("result"),
    words("by"),
    #: of the batch that carries it, and when that was sealed: the order of the list.  The visit itself may be of
    #: an earlier boot, whose clock nobody need know
    integer("boot_no"),
    integer("mono_us"),
    integer("wall_us"),
    octets("visit"),
    integer("evidence_id"),
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
    integer("gateway_no"),
    words("point"),
    words("job"),
    integer("rank"),
    integer("boot_no"),
    #: of the sealing
    integer("mono_us"),
    integer("wall_us"),
    words("last"),
    words("due"),
    words("state"),
    words("street"),
    PrimaryKeyConstraint("gateway_no", "point", "job"),
    sqlite_with_rowid=False,
)

#: the newest that each gateway stated of work on each point (contracts.inhibit)
inhibit = Table(
    "inhibit",
    metadata,
    integer("gateway_no"),
    words("point"),
    integer("rank"),
    integer("boot_no"),
    #: of the sealing
    integer("mono_us"),
    #: monotonic of that boot
    integer("since_us"),
    integer("until_us"),
    words("reason"),
    words("by"),
    integer("evidence_id"),
    PrimaryKeyConstraint("gateway_no", "point"),
    sqlite_with_rowid=False,
)

#: dropped and made again by rebuild; compared by verify
PROJECTIONS = (
    "epoch", "chain", "loss", "point", "latest", "rollup", "alarm", "alarm_event", "health", "waveform", "visit",
    "upkeep", "inhibit",
)  # fmt: skip
