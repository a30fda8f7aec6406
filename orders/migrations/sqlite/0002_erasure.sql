-- Purchases of customers who were erased: their orders are nobody's, whenever their events come. It says nothing of the
-- customers.
CREATE TABLE erased_checkouts (
    checkout_id TEXT NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;
