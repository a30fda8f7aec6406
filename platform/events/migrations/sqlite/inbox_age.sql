-- Finds the notes that are old enough to go.
CREATE INDEX inbox_by_age ON inbox (consumer_group, applied_at);
