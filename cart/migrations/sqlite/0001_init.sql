-- One document a customer. What is beside the document is there to find it and to tell whether it is still the same.
CREATE TABLE carts (
    user_id    TEXT    NOT NULL PRIMARY KEY,
    cart_id    TEXT    NOT NULL,
    version    INTEGER NOT NULL CHECK (version >= 1),
    document   TEXT    NOT NULL,
    -- Milliseconds since 1970.
    updated_at INTEGER NOT NULL
) STRICT;
