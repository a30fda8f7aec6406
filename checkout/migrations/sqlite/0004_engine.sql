-- What the engine of sagas keeps of each: the version of its machine, how many signals it has not used, and the request that
-- began it.
ALTER TABLE checkouts ADD COLUMN machine INTEGER NOT NULL DEFAULT 1;
ALTER TABLE checkouts ADD COLUMN unread_signals INTEGER NOT NULL DEFAULT 0;
ALTER TABLE checkouts ADD COLUMN request_id TEXT;
ALTER TABLE checkouts ADD COLUMN traceparent TEXT;
