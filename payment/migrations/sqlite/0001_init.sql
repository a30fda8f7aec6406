-- One payment a checkout. What it is of is absent only when the refund came before the charge.
CREATE TABLE payments (
    checkout_id    TEXT PRIMARY KEY,
    payment_id     TEXT UNIQUE,
    amount         INTEGER CHECK (amount > 0),
    currency       TEXT,
    method         TEXT,
    state          TEXT NOT NULL CHECK (state IN ('INTENT', 'SUCCEEDED', 'DECLINED', 'REFUNDED', 'CANCELLED')),
    decline_reason TEXT,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    CHECK ((payment_id IS NULL) = (amount IS NULL)
       AND (payment_id IS NULL) = (currency IS NULL)
       AND (payment_id IS NULL) = (method IS NULL)),
    CHECK (payment_id IS NOT NULL OR state NOT IN ('INTENT', 'SUCCEEDED')),
    CHECK ((decline_reason IS NOT NULL) = (state = 'DECLINED'))
) STRICT;

-- Open payments, for whoever looks for what is stuck.
CREATE INDEX payments_open ON payments (created_at) WHERE state = 'INTENT';
