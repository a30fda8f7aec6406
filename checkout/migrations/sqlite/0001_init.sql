-- One row a purchase: what was bought, how far its saga is, and who drives it.
CREATE TABLE checkouts (
    id              TEXT    PRIMARY KEY,
    user_id         TEXT    NOT NULL,
    idempotency_key TEXT    NOT NULL,
    -- The request that the key was first used with.
    fingerprint     TEXT    NOT NULL,
    -- The saga's own state, and what customers see of it.
    state           TEXT    NOT NULL,
    status          TEXT    NOT NULL,
    failure         TEXT,
    lines           TEXT    NOT NULL,
    total_minor     INTEGER NOT NULL CHECK (total_minor > 0),
    currency        TEXT    NOT NULL,
    payment_method  TEXT    NOT NULL,
    payment_id      TEXT,
    cart_version    INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    -- The number of rows in its history.
    version         INTEGER NOT NULL,
    owner           TEXT    NOT NULL,
    fence           INTEGER NOT NULL,
    lease_until     INTEGER NOT NULL,
    wake_at         INTEGER NOT NULL,
    attempts        INTEGER NOT NULL DEFAULT 0,
    needs_attention INTEGER NOT NULL DEFAULT 0,
    UNIQUE (user_id, idempotency_key)
) STRICT;

CREATE INDEX checkouts_unfinished ON checkouts (wake_at) WHERE state NOT IN ('COMPLETED', 'FAILED');
CREATE INDEX checkouts_by_status ON checkouts (status, created_at, id);

-- Append-only.
CREATE TABLE history (
    checkout_id TEXT    NOT NULL REFERENCES checkouts (id),
    version     INTEGER NOT NULL,
    state       TEXT    NOT NULL,
    at          INTEGER NOT NULL,
    detail      TEXT    NOT NULL,
    PRIMARY KEY (checkout_id, version)
) STRICT, WITHOUT ROWID;
