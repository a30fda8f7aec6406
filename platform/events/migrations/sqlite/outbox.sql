CREATE TABLE outbox (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT    NOT NULL UNIQUE,
    topic        TEXT    NOT NULL,
    key          TEXT    NOT NULL,
    headers      TEXT    NOT NULL,
    value        BLOB    NOT NULL,
    created_at   INTEGER NOT NULL,
    published_at INTEGER
) STRICT;

CREATE INDEX outbox_unpublished ON outbox (seq) WHERE published_at IS NULL;
CREATE INDEX outbox_published ON outbox (published_at) WHERE published_at IS NOT NULL;

-- The one relay that may publish.
CREATE TABLE outbox_lease (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    owner TEXT    NOT NULL,
    fence INTEGER NOT NULL,
    until INTEGER NOT NULL
) STRICT;
