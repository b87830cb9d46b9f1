-- The log: one row an Event, one column a field of it (hub/words.py says what each means).
-- No key, no index and no constraint but NOT NULL: an index would make every commit and every
-- checkpoint dearer, and seq is unique because one writer counts it.
-- Rows are only ever inserted.
CREATE TABLE log (
    kind       UTINYINT  NOT NULL,
    ts         TIMESTAMP NOT NULL,  -- hub clock, UTC
    agent      VARCHAR   NOT NULL,
    device     VARCHAR   NOT NULL,
    session    BIGINT    NOT NULL,
    boot       BIGINT    NOT NULL,
    step       BIGINT,
    obs        BLOB,                -- float32, little-endian; see columns.STORED
    action     BLOB,
    executed   BLOB,
    reward     DOUBLE,              -- as the device sent it
    terminated BOOLEAN,
    truncated  BOOLEAN,
    first      BOOLEAN,
    policy     BIGINT,
    logprob    DOUBLE,
    value      DOUBLE,              -- like logprob not rounded: replay must give what was live
    source     UTINYINT,
    reason     VARCHAR,
    latency_us BIGINT,
    device_ts  TIMESTAMP,           -- device clock, not to be trusted
    payload    VARCHAR,             -- JSON, only what the columns do not hold
    secret     BLOB,                -- SHA-256, in no view
    version    UTINYINT  NOT NULL,
    seq        BIGINT    NOT NULL   -- gapless from 1
);

-- What is said once of the whole log: `hub`, its id; `schema`, the version of these statements;
-- `upto`, the seq after which this file begins: older events are in segments, and those of them
-- that recovery needs are carried along here. Said anew, the highest `schema` counts.
CREATE TABLE meta (
    key   VARCHAR NOT NULL,
    value VARCHAR NOT NULL
);

-- One row for each time the log was found shorter than what had been acknowledged. The seqs from
-- lost_first up to seq_first are gone and never given again.
CREATE TABLE epochs (
    epoch      INTEGER   NOT NULL,
    began      TIMESTAMP NOT NULL,
    lost_first BIGINT    NOT NULL,
    seq_first  BIGINT    NOT NULL,
    reason     VARCHAR   NOT NULL
);

-- What a running episode had come to at the event up to which an older file was left behind
-- (meta.upto): its rows are not here, except for those that recovery looks at one by one.
CREATE TABLE carried (
    device          VARCHAR NOT NULL,
    opened          BIGINT  NOT NULL,  -- seq of the episode's first observation
    steps           BIGINT  NOT NULL,  -- its observations after that
    reward_sum      DOUBLE  NOT NULL,
    rewards_missing BIGINT  NOT NULL
);
