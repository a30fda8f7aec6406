-- The books of the simulated provider. They know nothing of checkouts: only the keys under which they were asked.
CREATE TABLE charges (
    idempotency_key TEXT PRIMARY KEY,
    charge_id       TEXT NOT NULL UNIQUE,
    amount          INTEGER NOT NULL CHECK (amount > 0),
    currency        TEXT NOT NULL,
    method          TEXT NOT NULL,
    outcome         TEXT NOT NULL CHECK (outcome IN ('SUCCEEDED', 'DECLINED')),
    decline_reason  TEXT,
    created_at      INTEGER NOT NULL,
    CHECK ((decline_reason IS NOT NULL) = (outcome = 'DECLINED'))
) STRICT;

-- Always of the whole charge.
CREATE TABLE refunds (
    idempotency_key TEXT PRIMARY KEY REFERENCES charges (idempotency_key),
    amount          INTEGER NOT NULL CHECK (amount > 0),
    currency        TEXT NOT NULL,
    created_at      INTEGER NOT NULL
) STRICT;

-- Refunds that came before their charge. A late charge under such a key is refused.
CREATE TABLE tombstones (
    idempotency_key TEXT PRIMARY KEY,
    created_at      INTEGER NOT NULL
) STRICT;

-- How often a charge was asked for under a key, whatever came of it.
CREATE TABLE attempts (
    idempotency_key TEXT PRIMARY KEY,
    attempts        INTEGER NOT NULL CHECK (attempts > 0)
) STRICT;
