-- What the engine of sagas keeps of each: the version of its machine, how many signals it has not used, and the request that
-- began it. A process of before goes on working: it leaves these columns as they are.
ALTER TABLE checkouts ADD COLUMN machine bigint NOT NULL DEFAULT 1, ADD COLUMN unread_signals bigint NOT NULL DEFAULT 0,
    ADD COLUMN request_id text, ADD COLUMN traceparent text;

-- It kept processes out that knew nothing of holds. They are two versions behind; those in between still write the column.
ALTER TABLE checkouts DROP CONSTRAINT checkouts_check;
