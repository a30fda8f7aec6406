CREATE TABLE partitions (
    topic       TEXT    NOT NULL,
    partition   INTEGER NOT NULL,
    next_offset INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (topic, partition)
) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
    topic     TEXT    NOT NULL,
    partition INTEGER NOT NULL,
    "offset"  INTEGER NOT NULL,
    key       TEXT    NOT NULL,
    headers   TEXT    NOT NULL,
    value     BLOB    NOT NULL,
    PRIMARY KEY (topic, partition, "offset")
) STRICT, WITHOUT ROWID;

-- The offset of the next message that a group wants.
CREATE TABLE group_offsets (
    consumer_group TEXT    NOT NULL,
    topic          TEXT    NOT NULL,
    partition      INTEGER NOT NULL,
    next_offset    INTEGER NOT NULL,
    PRIMARY KEY (consumer_group, topic, partition)
) STRICT, WITHOUT ROWID;
