CREATE TABLE stock (
    product_id bigint PRIMARY KEY CHECK (product_id > 0),
    -- Pieces in the warehouse, held ones included.
    on_hand    bigint NOT NULL,
    held       bigint NOT NULL,
    CHECK (0 <= held AND held <= on_hand)
)
-- A product that sells changes all the time: its row's next version fits on the same page, and no index hears of it.
WITH (fillfactor = 50);

CREATE TABLE reservations (
    checkout_id uuid        PRIMARY KEY,
    state       text        NOT NULL CHECK (state IN ('HELD', 'EXPIRED', 'CONFIRMED', 'RELEASED', 'REFUSED', 'LOST')),
    -- The first answer to Reserve: until when the stock was held, or what was short. Neither: Reserve never came.
    expires_at  timestamptz,
    shortages   jsonb,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    CHECK ((state = 'REFUSED') = (shortages IS NOT NULL)),
    CHECK (shortages IS NULL OR expires_at IS NULL),
    CHECK (state = 'RELEASED' OR shortages IS NOT NULL OR expires_at IS NOT NULL)
);

CREATE INDEX reservations_held ON reservations (expires_at) WHERE state = 'HELD';

CREATE TABLE reservation_lines (
    checkout_id uuid   NOT NULL REFERENCES reservations (checkout_id),
    product_id  bigint NOT NULL,
    quantity    bigint NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (checkout_id, product_id)
);

-- Every movement of stock, for ever: its sums are the columns of `stock`.
CREATE TABLE ledger (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind            text        NOT NULL
        CHECK (kind IN ('RECEIVED', 'HELD', 'SOLD', 'SOLD_AFTER_EXPIRY', 'RELEASED', 'EXPIRED')),
    product_id      bigint      NOT NULL REFERENCES stock (product_id),
    on_hand_delta   bigint      NOT NULL,
    held_delta      bigint      NOT NULL,
    -- What the movement was for: a checkout, or goods received under a key.
    checkout_id     uuid        REFERENCES reservations (checkout_id),
    idempotency_key text,
    at              timestamptz NOT NULL,
    CHECK ((checkout_id IS NULL) <> (idempotency_key IS NULL))
);

-- A reservation goes through each kind of movement at most once, whatever the code does.
CREATE UNIQUE INDEX ledger_checkout ON ledger (checkout_id, product_id, kind) WHERE checkout_id IS NOT NULL;

-- Goods received: the first answer to each key.
CREATE TABLE receipts (
    idempotency_key text        PRIMARY KEY,
    product_id      bigint      NOT NULL,
    quantity        bigint      NOT NULL,
    on_hand         bigint      NOT NULL,
    held            bigint      NOT NULL,
    at              timestamptz NOT NULL
);
