-- When a message was published, in milliseconds since 1970. The retention of the message begins then. Messages of earlier
-- versions count as published now.
ALTER TABLE messages ADD COLUMN published_at INTEGER NOT NULL DEFAULT 0;
UPDATE messages SET published_at = CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER);
