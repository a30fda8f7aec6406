CREATE TABLE inbox (
    consumer_group TEXT    NOT NULL,
    event_id       TEXT    NOT NULL,
    applied_at     INTEGER NOT NULL,
    PRIMARY KEY (consumer_group, event_id)
) STRICT, WITHOUT ROWID;
