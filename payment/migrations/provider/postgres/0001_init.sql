-- The books of the simulated provider. They know nothing of checkouts: only the keys under which they were asked.
CREATE TABLE charges (
    idempotency_key text PRIMARY KEY,
    charge_id       uuid NOT NULL UNIQUE,
    amount          bigint NOT NULL CHECK (amount > 0),
    currency        text NOT NULL,
    method          text NOT NULL,
    outcome         text NOT NULL CHECK (outcome IN ('SUCCEEDED', 'DECLINED')),
    decline_reason  text,
    created_at      timestamptz NOT NULL,
    CHECK ((decline_reason IS NOT NULL) = (outcome = 'DECLINED'))
);

-- Always of the whole charge.
CREATE TABLE refunds (
    idempotency_key text PRIMARY KEY REFERENCES charges (idempotency_key),
    amount          bigint NOT NULL CHECK (amount > 0),
    currency        text NOT NULL,
    created_at      timestamptz NOT NULL
);

-- Refunds that came before their charge. A late charge under such a key is refused.
CREATE TABLE tombstones (
    idempotency_key text PRIMARY KEY,
    created_at      timestamptz NOT NULL
);

-- How often a charge was asked for under a key, whatever came of it.
CREATE TABLE attempts (
    idempotency_key text PRIMARY KEY,
    attempts        bigint NOT NULL CHECK (attempts > 0)
);
