-- One payment a checkout. What it is of is absent only when the refund came before the charge.
CREATE TABLE payments (
    checkout_id    uuid PRIMARY KEY,
    payment_id     uuid UNIQUE,
    amount         bigint CHECK (amount > 0),
    currency       text,
    method         text,
    state          text NOT NULL CHECK (state IN ('INTENT', 'SUCCEEDED', 'DECLINED', 'REFUNDED', 'CANCELLED')),
    decline_reason text,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    CHECK ((payment_id IS NULL) = (amount IS NULL)
       AND (payment_id IS NULL) = (currency IS NULL)
       AND (payment_id IS NULL) = (method IS NULL)),
    CHECK (payment_id IS NOT NULL OR state NOT IN ('INTENT', 'SUCCEEDED')),
    CHECK ((decline_reason IS NOT NULL) = (state = 'DECLINED'))
);

-- Open payments, for whoever looks for what is stuck.
CREATE INDEX payments_open ON payments (created_at) WHERE state = 'INTENT';
