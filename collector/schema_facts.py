"""The tables of facts: evidence, what it is about, and what people did.

    meta, gateway, catalogue, boot, epoch_name, evidence, ask, commit_stamp, waiting, receipt, link,
    acknowledgement, quarantine, checkpoint, decision, review, alarm_shown, stated, notice,
    notice_alarm, notice_answer, confirmation, document, own_alarm

The *evidence* table is the commit point and the raw history: signed bytes as they came.  Nothing here
can be made again from anything else; ``collector rebuild`` leaves it as it is.  Times: ``schema``.
"""

from __future__ import annotations

from sqlalchemy import BLOB, TEXT, Column, Index, Integer, PrimaryKeyConstraint, Table, UniqueConstraint, text

from collector.schema_columns import integer, metadata, octets, row_number, words

#: collector epoch, since when, receipt serial reserved up to
meta = Table("meta", metadata, Column("key", TEXT, primary_key=True), Column("value", BLOB))

gateway = Table(
    "gateway",
    metadata,
    row_number(),
    words("id"),
    words("en"),
    words("zh"),
    integer("added_us"),
    UniqueConstraint("id"),
)

#: verified catalogues, each as it was signed
catalogue = Table(
    "catalogue",
    metadata,
    row_number(),
    integer("gateway_no"),
    octets("hash"),
    octets("envelope"),
    integer("arrived_us"),
    UniqueConstraint("gateway_no", "hash"),
)

#: one row per boot of a gateway; ``rank`` orders boots, ``bound_us`` is the least of arrival
#: minus sealing time, ``offset_us`` turns its monotonic times into UTC (trust: see walltime)
boot = Table(
    "boot",
    metadata,
    row_number(),
    integer("gateway_no"),
    octets("boot_id"),
    integer("counter"),
    integer("rank"),
    integer("live_us", null=True),
    integer("bound_us", null=True),
    integer("offset_us", null=True),
    integer("trust"),
    #: monotonic time of the anchor that the offset is from, and its half-width; None for an arrival
    integer("anchor_us", null=True),
    integer("uncertainty_ms", null=True),
    UniqueConstraint("gateway_no", "boot_id"),
)

#: number of each epoch that was ever named
epoch_name = Table(
    "epoch_name",
    metadata,
    row_number(),
    integer("gateway_no"),
    octets("epoch"),
    UniqueConstraint("gateway_no", "epoch"),
)

#: the signed batches.  state: 0 projected, 1 waits for its catalogue, 2 refused (``code``)
evidence = Table(
    "evidence",
    metadata,
    Column("id", Integer, primary_key=True),
    integer("epoch_no"),
    integer("lane"),
    integer("seq"),
    octets("digest"),
    octets("previous"),
    integer("gateway_no"),
    integer("boot_no"),
    integer("catalogue_no", null=True),
    integer("state"),
    words("code", null=True),
    integer("readings"),
    integer("sealed_us"),
    integer("first_us"),
    integer("last_us"),
    #: UTC of ``first_us`` by the offset that the projections used
    integer("wall_us"),
    integer("arrived_us"),
    octets("envelope"),
    UniqueConstraint("epoch_no", "lane", "seq", "digest"),
)
Index("ix_evidence_wall", evidence.c.gateway_no, evidence.c.wall_us)
Index("ix_evidence_refused", evidence.c.epoch_no, evidence.c.lane, sqlite_where=evidence.c.state == text("2"))

#: data batches that wait for a catalogue, by its hash
waiting = Table(
    "waiting",
    metadata,
    Column("evidence_id", Integer, primary_key=True),
    integer("gateway_no"),
    integer("epoch_no"),
    octets("hash"),
)

#: asks that count: the newest of each epoch, and those that told of an alarm first
ask = Table(
    "ask",
    metadata,
    Column("id", Integer, primary_key=True),
    integer("gateway_no"),
    integer("epoch_no"),
    octets("digest"),
    octets("envelope"),
    integer("arrived_us"),
    integer("told"),
    UniqueConstraint("digest"),
)

#: when the commit of a batch with alarm events had returned; not signed by anybody
commit_stamp = Table(
    "commit_stamp", metadata, Column("evidence_id", Integer, primary_key=True), integer("committed_us")
)

#: newest receipt given for each chain
receipt = Table(
    "receipt",
    metadata,
    integer("epoch_no"),
    integer("lane"),
    integer("serial"),
    integer("issued_us"),
    PrimaryKeyConstraint("epoch_no", "lane"),
    sqlite_with_rowid=False,
)

#: what is known of a gateway's link: newest arrival of anything verified, status, newest ask
link = Table(
    "link",
    metadata,
    Column("gateway_no", Integer, primary_key=True),
    integer("arrived_us"),
    integer("online", null=True),
    integer("session", null=True),
    words("version", null=True),
    words("clock", null=True),
    integer("boot_no", null=True),
    integer("epoch_no", null=True),
    integer("alarm_seq", null=True),
    integer("data_seq", null=True),
    octets("catalogue_hash", null=True),
)

#: what people did about alarms; append only
acknowledgement = Table(
    "acknowledgement",
    metadata,
    Column("id", Integer, primary_key=True),
    octets("alarm_id"),
    words("by"),
    integer("at_us"),
    words("note"),
    words("source"),
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
    integer("gateway_no"),
    octets("alarm_id"),
    words("decision"),
    words("reason"),
    integer("arrived_us"),
)
Index("ix_decision_alarm", decision.c.gateway_no, decision.c.alarm_id)

#: alarms that were over before word of them came, and that nobody has acknowledged
review = Table(
    "review",
    metadata,
    Column("alarm_id", BLOB, primary_key=True),
    integer("gateway_no"),
    integer("arrived_us"),
    sqlite_with_rowid=False,
)

#: when an alarm first stood on a page that somebody had open
alarm_shown = Table(
    "alarm_shown",
    metadata,
    Column("alarm_id", BLOB, primary_key=True),
    integer("shown_us"),
    sqlite_with_rowid=False,
)

#: attempts to tell somebody of alarms, each written before it is made; append only.  ``by``: who asked for a test
notice = Table(
    "notice",
    metadata,
    Column("id", Integer, primary_key=True),
    words("target"),
    words("kind"),
    integer("at_us"),
    integer("is_possible_repeat"),
    words("by"),
    #: how many
    integer("alarms"),
)
Index("ix_notice_at_us", notice.c.at_us)

#: the alarms of each attempt, with the severity that each was told with
notice_alarm = Table(
    "notice_alarm",
    metadata,
    octets("alarm_id"),
    integer("notice_id"),
    integer("gateway_no"),
    words("severity"),
    PrimaryKeyConstraint("alarm_id", "notice_id", "gateway_no"),
    sqlite_with_rowid=False,
)
Index("ix_notice_alarm_notice_id", notice_alarm.c.notice_id)

#: what became of each attempt; one without an answer may have arrived
notice_answer = Table(
    "notice_answer",
    metadata,
    Column("notice_id", Integer, primary_key=True),
    integer("at_us"),
    words("outcome"),
    words("detail"),
)

#: the newest statement of each gateway of all its alarms: as of when, and their ids one after the other
stated = Table(
    "stated",
    metadata,
    Column("gateway_no", Integer, primary_key=True),
    integer("boot_no"),
    integer("mono_us"),
    integer("arrived_us"),
    #: severity of the least grave one that it names; the gateway leaves less grave ones out where all do not fit
    words("least"),
    octets("ids"),
)

#: how the limits of each point stand, as its gateway stated last: on trial, confirmed by a letter, or none
confirmation = Table(
    "confirmation",
    metadata,
    integer("gateway_no"),
    words("point"),
    words("state"),
    words("by"),
    words("at"),
    words("document"),
    octets("digest"),
    #: UTC: arrival of the first statement that said so, without another in between
    integer("since_us"),
    #: of the newest statement: the boot, and when its batch was sealed
    integer("boot_no"),
    integer("mono_us"),
    PrimaryKeyConstraint("gateway_no", "point"),
    sqlite_with_rowid=False,
)
Index("ix_confirmation_state", confirmation.c.state, confirmation.c.since_us)

#: letters that people attached, by SHA-256; the bytes are files of the data directory; append only
document = Table(
    "document",
    metadata,
    Column("digest", BLOB, primary_key=True),
    words("name"),
    words("kind"),
    integer("size"),
    words("by"),
    integer("at_us"),
    words("source"),
    words("note"),
    sqlite_with_rowid=False,
)

#: alarms that the collector raises itself (``collector.own_alarms``)
own_alarm = Table(
    "own_alarm",
    metadata,
    integer("gateway_no"),
    octets("id"),
    words("rule_id"),
    words("severity"),
    integer("raised_us"),
    PrimaryKeyConstraint("gateway_no", "id"),
    sqlite_with_rowid=False,
)

#: what arrived and was not accepted, with the reason
quarantine = Table(
    "quarantine",
    metadata,
    Column("id", Integer, primary_key=True),
    integer("arrived_us"),
    words("topic"),
    words("code"),
    words("reason"),
    integer("size"),
    octets("digest"),
    octets("bytes"),
    integer("times"),
    UniqueConstraint("digest"),
)

#: signed by the collector before old evidence is dropped; verification starts from the newest
checkpoint = Table(
    "checkpoint",
    metadata,
    Column("id", Integer, primary_key=True),
    integer("epoch_no"),
    integer("lane"),
    integer("seq"),
    octets("digest"),
    integer("made_us"),
    octets("envelope"),
    UniqueConstraint("epoch_no", "lane", "seq"),
)
