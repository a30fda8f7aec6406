//! No statement's cost grows with the number of orders.

use orders::{domain::UserId, ports::Recorded};
use testing::{Fixture, PostgresFixture};
use uuid::Uuid;

use crate::store::{StoreFixture, now, order};

/// A statement that reads this many rows scans a whole table.
const MANY: i64 = 10_000;
/// Enough executions for the server to switch to a generic plan.
const TIMES: u128 = 8;

/// A million orders with a line each. They belong to three users only, so a scan could look cheap to the planner.
const ORDERS: &str = "
    -- The foreign key would be checked row by row.
    ALTER TABLE order_lines DROP CONSTRAINT order_lines_order_id_fkey;
    ALTER TABLE order_lines SET UNLOGGED;
    ALTER TABLE orders SET UNLOGGED;
    ALTER TABLE inbox SET UNLOGGED;
    INSERT INTO orders
    SELECT lpad(to_hex(n), 32, '0')::uuid, ('f' || lpad(to_hex(n), 31, '0'))::uuid, 'user-' || n % 3, 5, 'USD', 'CONFIRMED',
        '2024-01-01T00:00:00Z'::timestamptz + n * interval '1 second', now()
    FROM generate_series(1, 1000000) n;
    INSERT INTO order_lines SELECT lpad(to_hex(n), 32, '0')::uuid, 0, 1, 'Laptop', 1, 5, 5 FROM generate_series(1, 1000000) n;
    INSERT INTO inbox SELECT 'orders-service', ('e' || lpad(to_hex(n), 31, '0'))::uuid, now() FROM generate_series(1, 1000000) n;
    ALTER TABLE order_lines ADD CONSTRAINT order_lines_order_id_fkey FOREIGN KEY (order_id) REFERENCES orders NOT VALID";

#[tokio::test]
async fn no_statement_scans_a_whole_table() {
    let Some(fixture) = PostgresFixture::new() else { return };
    let store = fixture.open().await;
    fixture.execute(ORDERS).await;
    fixture.count_scans().await;
    let user = UserId::new("user-1").unwrap();
    let mut after = None;
    for n in 1..=TIMES {
        let (new, known) = (order(5_000_000 + n, "user-1", 5), order(n, "user-1", 5));
        let event = Uuid::from_u128(n);
        // A known event; a known checkout in another event; the id of another checkout's order.
        assert_eq!(store.record(&new, event, now()).await.unwrap(), Recorded::Created);
        assert_eq!(store.record(&new, event, now()).await.unwrap(), Recorded::Duplicate);
        let again = Uuid::from_u128(1_000_000 + n);
        assert_eq!(store.record(&new, again, now()).await.unwrap(), Recorded::Duplicate);
        let taken = Uuid::from_u128(2_000_000 + n);
        assert_eq!(store.record(&known, taken, now()).await.unwrap(), Recorded::IdTaken);
        assert!(store.find(&user, new.id()).await.unwrap().is_some());
        let first = store.list(&user, None, 20).await.unwrap();
        let page = store.list(&user, after.or(first.next), 100).await.unwrap();
        assert_eq!((first.items.len(), page.items.len()), (20, 100));
        after = page.next;
        let nobody = UserId::new("nobody").unwrap();
        assert!(store.list(&nobody, None, 20).await.unwrap().items.is_empty());
    }
    drop(store);
    let scanned = fixture.full_scans(MANY).await;
    fixture.drop_schema().await;
    assert_eq!(scanned, []);
}
