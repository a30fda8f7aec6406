CREATE TABLE orders (
    id          uuid        NOT NULL PRIMARY KEY,
    checkout_id uuid        NOT NULL UNIQUE,
    user_id     text        NOT NULL,
    -- Minor units of the currency, as all amounts here.
    total       bigint      NOT NULL CHECK (total >= 0),
    currency    text        NOT NULL,
    status      text        NOT NULL CHECK (status = 'CONFIRMED'),
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);

CREATE INDEX orders_of_user ON orders (user_id, created_at, id);

CREATE TABLE order_lines (
    order_id     uuid   NOT NULL REFERENCES orders (id),
    position     bigint NOT NULL,
    product_id   bigint NOT NULL,
    product_name text   NOT NULL,
    quantity     bigint NOT NULL CHECK (quantity > 0),
    price        bigint NOT NULL CHECK (price >= 0),
    subtotal     bigint NOT NULL CHECK (subtotal = price * quantity),
    PRIMARY KEY (order_id, position)
);
