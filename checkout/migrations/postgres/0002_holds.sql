-- Checkouts hold the pieces of the cart that they buy. Rows of before have no cart_id, and those that were past that step
-- never get a hold.
ALTER TABLE checkouts ADD COLUMN cart_id uuid, ADD COLUMN held boolean NOT NULL DEFAULT false;

-- The fence of the last claim by a process that knows of holds. A process of before that is still running would take such a
-- saga on without a hold: its claim fails. (SQLite needs none: a process of before does not open a newer file.)
ALTER TABLE checkouts ADD COLUMN hold_fence bigint, ADD CHECK (hold_fence IS NULL OR hold_fence = fence);

-- Those that took, or may take, pieces that they do not hold: only rows of before are among them, and those of processes of before.
CREATE INDEX checkouts_unheld ON checkouts (user_id)
    WHERE cart_id IS NULL AND NOT held
        AND state IN ('INITIATED', 'INVENTORY_RESERVED', 'PAYMENT_PENDING', 'PAYMENT_COMPLETED', 'COMPLETED');

-- Of two that were begun from one cart, one may be charged already, or its event may not be published. The other one must not
-- hold the same pieces: made from version 0, its hold is refused.
UPDATE checkouts SET cart_version = 0
WHERE state IN ('INITIATED', 'INVENTORY_RESERVED') AND EXISTS (
    SELECT 1 FROM checkouts other
    WHERE other.user_id = checkouts.user_id AND (other.state IN ('PAYMENT_PENDING', 'PAYMENT_COMPLETED')
        OR (other.state = 'COMPLETED'
            AND EXISTS (SELECT 1 FROM outbox WHERE key = other.id::text AND published_at IS NULL))));
