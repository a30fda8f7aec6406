CREATE TABLE products (
    -- Without AUTOINCREMENT: an id that somebody chose, even the largest there is, never keeps new ones from being found.
    id INTEGER PRIMARY KEY CHECK (id > 0),
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    price_minor_units INTEGER NOT NULL CHECK (price_minor_units > 0),
    currency TEXT NOT NULL,
    image_url TEXT NOT NULL,
    -- Name and description, a line each, in lower case by Unicode's rules, which SQLite does not know.
    search_text TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
