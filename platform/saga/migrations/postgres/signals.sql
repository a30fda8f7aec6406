-- What sagas are told from outside, of all kinds in this schema.
CREATE TABLE saga_signals (
    saga_id uuid        NOT NULL,
    -- Its sender's: the same one again is the same signal.
    id      uuid        NOT NULL,
    name    text        NOT NULL,
    payload text        NOT NULL,
    sent_at timestamptz NOT NULL,
    read_at timestamptz,
    PRIMARY KEY (saga_id, id)
);
