-- Finds the messages of a key, which may have to be erased.
CREATE INDEX messages_by_key ON messages (key);
