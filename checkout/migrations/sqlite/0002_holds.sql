-- Checkouts hold the pieces of the cart that they buy. Rows of before have no cart_id, and those that were past that step
-- never get a hold.
ALTER TABLE checkouts ADD COLUMN cart_id TEXT;
ALTER TABLE checkouts ADD COLUMN held INTEGER NOT NULL DEFAULT 0;

-- Those that took, or may take, pieces that they do not hold: only rows of before are among them, and those of processes of before.
CREATE INDEX checkouts_unheld ON checkouts (user_id)
    WHERE cart_id IS NULL AND held = 0
        AND state IN ('INITIATED', 'INVENTORY_RESERVED', 'PAYMENT_PENDING', 'PAYMENT_COMPLETED', 'COMPLETED');

-- Of two that were begun from one cart, one may be charged already, or its event may not be published. The other one must not
-- hold the same pieces: made from version 0, its hold is refused.
UPDATE checkouts SET cart_version = 0
WHERE state IN ('INITIATED', 'INVENTORY_RESERVED') AND EXISTS (
    SELECT 1 FROM checkouts other
    WHERE other.user_id = checkouts.user_id AND (other.state IN ('PAYMENT_PENDING', 'PAYMENT_COMPLETED')
        OR (other.state = 'COMPLETED'
            AND EXISTS (SELECT 1 FROM outbox WHERE key = other.id AND published_at IS NULL))));
