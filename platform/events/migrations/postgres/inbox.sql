CREATE TABLE inbox (
    consumer_group text        NOT NULL,
    event_id       uuid        NOT NULL,
    applied_at     timestamptz NOT NULL,
    PRIMARY KEY (consumer_group, event_id)
);
