CREATE TABLE notifications (
    -- The id of the event that it tells of.
    id          uuid        NOT NULL PRIMARY KEY,
    user_id     text        NOT NULL,
    kind        text        NOT NULL CHECK (kind IN ('ORDER_CONFIRMED', 'CHECKOUT_FAILED')),
    checkout_id uuid        NOT NULL,
    text        text        NOT NULL,
    created_at  timestamptz NOT NULL
);

CREATE INDEX notifications_of_user ON notifications (user_id, created_at, id);
