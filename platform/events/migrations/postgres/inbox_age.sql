-- Finds the entries of a group that are old enough to be removed.
CREATE INDEX inbox_by_age ON inbox (consumer_group, applied_at);
