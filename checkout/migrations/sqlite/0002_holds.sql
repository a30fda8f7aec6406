-- Checkouts hold the pieces of the cart that they buy. Rows of before have no cart_id, and those that were past that step
-- never get a hold.
ALTER TABLE checkouts ADD COLUMN cart_id TEXT;
ALTER TABLE checkouts ADD COLUMN held INTEGER NOT NULL DEFAULT 0;

-- Those that took, or are about to take, pieces that they do not hold: only rows of before are among them.
CREATE INDEX checkouts_unheld ON checkouts (user_id)
    WHERE held = 0 AND state IN ('PAYMENT_PENDING', 'PAYMENT_COMPLETED', 'COMPLETED');
