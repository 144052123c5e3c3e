-- The spool: what the gateway has sealed and not yet been released from keeping.
-- Applied by the agent itself (edge_agent/spool.py); `PRAGMA user_version` names the version.

-- One row for each start of the agent, and one for each time the store was unusable.
CREATE TABLE epoch (
    no            INTEGER PRIMARY KEY,
    epoch         BLOB NOT NULL UNIQUE,   -- 8 random bytes
    reason        TEXT NOT NULL,
    boot_id       BLOB NOT NULL,
    boot_counter  INTEGER NOT NULL,
    started_us    INTEGER NOT NULL,       -- monotonic
    started_uptime_s INTEGER NOT NULL,    -- running time of the agent over all its starts
    is_volatile   INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Sealed bytes, never rewritten.  id = (epoch no << 34) | (lane << 33) | seq, so that one
-- b-tree orders a lane, finds a batch and needs no second index.
CREATE TABLE batch (
    id        INTEGER PRIMARY KEY,
    digest    BLOB NOT NULL,
    readings  INTEGER NOT NULL,
    first_us  INTEGER,                    -- monotonic, of the oldest and newest sample
    last_us   INTEGER,
    checksum  INTEGER NOT NULL,           -- CRC-32 over digest and envelope; above it that of the other columns
    envelope  BLOB NOT NULL
) STRICT;

-- What a receipt has confirmed, as ranges; replaced as a whole per epoch and lane.
CREATE TABLE delivered (
    epoch_no  INTEGER NOT NULL,
    lane      INTEGER NOT NULL,
    first     INTEGER NOT NULL,
    last      INTEGER NOT NULL,
    PRIMARY KEY (epoch_no, lane, first)
) STRICT, WITHOUT ROWID;

-- Ranges that are no longer here, and why: 'released' after a receipt, else the cause of a
-- signed loss record.  The digest of the last batch keeps the chain provable.
CREATE TABLE gone (
    epoch_no  INTEGER NOT NULL,
    lane      INTEGER NOT NULL,
    first     INTEGER NOT NULL,
    last      INTEGER NOT NULL,
    digest    BLOB NOT NULL,
    readings  INTEGER NOT NULL,
    cause     TEXT NOT NULL,
    record_id INTEGER,                    -- batch.id that carries the loss record
    PRIMARY KEY (epoch_no, lane, first)
) STRICT, WITHOUT ROWID;

CREATE TABLE catalogue (
    hash      BLOB PRIMARY KEY,
    envelope  BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Small things that change with a seal: alarm state, newest collector epoch and serial.
CREATE TABLE state (
    key    TEXT PRIMARY KEY,
    value  BLOB NOT NULL
) STRICT, WITHOUT ROWID;
