CREATE TABLE notifications (
    -- The id of the event that it tells of.
    id          TEXT    NOT NULL PRIMARY KEY,
    user_id     TEXT    NOT NULL,
    kind        TEXT    NOT NULL CHECK (kind IN ('ORDER_CONFIRMED', 'CHECKOUT_FAILED')),
    checkout_id TEXT    NOT NULL,
    text        TEXT    NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;

CREATE INDEX notifications_of_user ON notifications (user_id, created_at, id);
