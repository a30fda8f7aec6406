CREATE TABLE stock (
    product_id INTEGER PRIMARY KEY CHECK (product_id > 0),
    -- Pieces in the warehouse, held ones included.
    on_hand INTEGER NOT NULL,
    held INTEGER NOT NULL,
    CHECK (0 <= held AND held <= on_hand)
) STRICT;

CREATE TABLE reservations (
    checkout_id TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('HELD', 'EXPIRED', 'CONFIRMED', 'RELEASED', 'REFUSED', 'LOST')),
    -- The first answer to Reserve: until when the stock was held, or what was short (JSON). Neither: Reserve never came.
    expires_at INTEGER,
    shortages TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    CHECK ((state = 'REFUSED') = (shortages IS NOT NULL)),
    CHECK (shortages IS NULL OR expires_at IS NULL),
    CHECK (state = 'RELEASED' OR shortages IS NOT NULL OR expires_at IS NOT NULL)
) STRICT, WITHOUT ROWID;

CREATE INDEX reservations_held ON reservations (expires_at) WHERE state = 'HELD';

CREATE TABLE reservation_lines (
    checkout_id TEXT NOT NULL REFERENCES reservations (checkout_id),
    product_id INTEGER NOT NULL,
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (checkout_id, product_id)
) STRICT, WITHOUT ROWID;

-- Every movement of stock, for ever: its sums are the columns of `stock`.
CREATE TABLE ledger (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('RECEIVED', 'HELD', 'SOLD', 'SOLD_AFTER_EXPIRY', 'RELEASED', 'EXPIRED')),
    product_id INTEGER NOT NULL REFERENCES stock (product_id),
    on_hand_delta INTEGER NOT NULL,
    held_delta INTEGER NOT NULL,
    -- What the movement was for: a checkout, or goods received under a key.
    checkout_id TEXT REFERENCES reservations (checkout_id),
    idempotency_key TEXT,
    at INTEGER NOT NULL,
    CHECK ((checkout_id IS NULL) <> (idempotency_key IS NULL))
) STRICT;

-- A reservation goes through each kind of movement at most once, whatever the code does.
CREATE UNIQUE INDEX ledger_checkout ON ledger (checkout_id, product_id, kind) WHERE checkout_id IS NOT NULL;

-- Goods received: the first answer to each key.
CREATE TABLE receipts (
    idempotency_key TEXT PRIMARY KEY,
    product_id INTEGER NOT NULL,
    quantity INTEGER NOT NULL,
    on_hand INTEGER NOT NULL,
    held INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
