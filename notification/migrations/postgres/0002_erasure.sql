-- Purchases of customers who were erased: nobody is told of them, whenever their events come. It says nothing of the
-- customers.
CREATE TABLE erased_checkouts (
    checkout_id uuid NOT NULL PRIMARY KEY
);
