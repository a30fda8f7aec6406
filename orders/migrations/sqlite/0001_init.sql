CREATE TABLE orders (
    id          TEXT    NOT NULL PRIMARY KEY,
    checkout_id TEXT    NOT NULL UNIQUE,
    user_id     TEXT    NOT NULL,
    -- Minor units of the currency, as all amounts here.
    total       INTEGER NOT NULL CHECK (total >= 0),
    currency    TEXT    NOT NULL,
    status      TEXT    NOT NULL CHECK (status = 'CONFIRMED'),
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;

CREATE INDEX orders_of_user ON orders (user_id, created_at, id);

CREATE TABLE order_lines (
    order_id     TEXT    NOT NULL REFERENCES orders (id),
    position     INTEGER NOT NULL,
    product_id   INTEGER NOT NULL,
    product_name TEXT    NOT NULL,
    quantity     INTEGER NOT NULL CHECK (quantity > 0),
    price        INTEGER NOT NULL CHECK (price >= 0),
    subtotal     INTEGER NOT NULL CHECK (subtotal = price * quantity),
    PRIMARY KEY (order_id, position)
) STRICT, WITHOUT ROWID;
