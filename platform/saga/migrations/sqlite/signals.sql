-- What sagas are told from outside, of all kinds in this database.
CREATE TABLE saga_signals (
    saga_id TEXT    NOT NULL,
    -- Its sender's: the same one again is the same signal.
    id      TEXT    NOT NULL,
    name    TEXT    NOT NULL,
    payload TEXT    NOT NULL,
    sent_at INTEGER NOT NULL,
    read_at INTEGER,
    PRIMARY KEY (saga_id, id)
) STRICT, WITHOUT ROWID;
