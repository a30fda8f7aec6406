-- Finds the published events of a checkout, which may have to be erased before their time.
CREATE INDEX outbox_by_key ON outbox (key) WHERE published_at IS NOT NULL;
