-- What a new shop starts with. A migration runs once, so what was sold stays sold.
INSERT INTO stock (product_id, on_hand, held) VALUES (1, 100, 0), (2, 500, 0), (3, 300, 0), (4, 150, 0), (5, 200, 0);

INSERT INTO ledger (kind, product_id, on_hand_delta, held_delta, idempotency_key, at)
SELECT 'RECEIVED', product_id, on_hand, 0, 'starting stock', date_trunc('milliseconds', clock_timestamp()) FROM stock;
