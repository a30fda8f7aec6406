-- The time of each cart that no checkout holds pieces of: the others have it at another place of their document. Finds carts
-- that nobody has changed for long.
CREATE INDEX carts_by_age ON carts (iif(json_valid(document), json_extract(document, '$.updated_at'), NULL));
