//! That no statement's cost rises with the number of orders.

use orders::{domain::UserId, ports::Recorded};
use testing::{Fixture, PostgresFixture};
use uuid::Uuid;

use crate::store::{Stores, now, order};

/// A read of this many rows is one of a whole table.
const MANY: i64 = 10_000;
/// Often enough that the server plans for any values instead of those at hand.
const TIMES: u128 = 8;

/// A million orders of three users, in which the planner could see a reason to read them all, with a line each.
const ORDERS: &str = "
    -- Whether lines have their orders is looked up one by one otherwise.
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
async fn no_statement_reads_a_table_from_end_to_end() {
    let Some(fixture) = PostgresFixture::new() else { return };
    let store = fixture.open().await;
    fixture.execute(ORDERS).await;
    fixture.count_scans().await;
    let user = UserId::new("user-1").unwrap();
    let mut after = None;
    for n in 1..=TIMES {
        let (new, known) = (order(5_000_000 + n, "user-1", 5), order(n, "user-1", 5));
        let event = Uuid::from_u128(n);
        // Known: the event; the checkout, under another event; and an id that another checkout has.
        assert_eq!(store.record(&new, event, now()).await.unwrap(), Recorded::Created);
        assert_eq!(store.record(&new, event, now()).await.unwrap(), Recorded::Known);
        let again = Uuid::from_u128(1_000_000 + n);
        assert_eq!(store.record(&new, again, now()).await.unwrap(), Recorded::Known);
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
