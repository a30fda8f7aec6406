-- One row a purchase: what was bought, how far its saga is, and who drives it.
CREATE TABLE checkouts (
    id              uuid        PRIMARY KEY,
    user_id         text        NOT NULL,
    idempotency_key text        NOT NULL,
    -- The request that the key was first used with.
    fingerprint     text        NOT NULL,
    -- The saga's own state, and what customers see of it.
    state           text        NOT NULL,
    status          text        NOT NULL,
    failure         jsonb,
    lines           jsonb       NOT NULL,
    total_minor     bigint      NOT NULL CHECK (total_minor > 0),
    currency        text        NOT NULL,
    payment_method  text        NOT NULL,
    payment_id      text,
    cart_version    bigint      NOT NULL,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    -- The number of rows in its history.
    version         bigint      NOT NULL,
    owner           text        NOT NULL,
    fence           bigint      NOT NULL,
    lease_until     timestamptz NOT NULL,
    wake_at         timestamptz NOT NULL,
    attempts        bigint      NOT NULL DEFAULT 0,
    needs_attention boolean     NOT NULL DEFAULT false,
    UNIQUE (user_id, idempotency_key)
);

-- A lease ends at `wake_at` or later, so those whose lease is over are all that can be due. In this order a saga that was
-- claimed in vain goes to the end of the queue.
CREATE INDEX checkouts_unfinished ON checkouts (lease_until) WHERE state NOT IN ('COMPLETED', 'FAILED');
CREATE INDEX checkouts_by_status ON checkouts (status, id);
CREATE INDEX checkouts_in_need ON checkouts (id) WHERE needs_attention;

-- Append-only.
CREATE TABLE history (
    checkout_id uuid        NOT NULL REFERENCES checkouts (id),
    version     bigint      NOT NULL,
    state       text        NOT NULL,
    at          timestamptz NOT NULL,
    detail      text        NOT NULL,
    PRIMARY KEY (checkout_id, version)
);
