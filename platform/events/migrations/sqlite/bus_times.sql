-- When a message was published, in milliseconds since 1970: it goes some time after that. What an earlier version has published
-- counts as published now.
ALTER TABLE messages ADD COLUMN published_at INTEGER NOT NULL DEFAULT 0;
UPDATE messages SET published_at = CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER);
