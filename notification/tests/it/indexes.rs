//! That no statement's cost rises with the number of notifications.

use jiff::Timestamp;
use notification::{domain::UserId, ports::Told};
use testing::{Fixture, PostgresFixture};

use crate::store::{Stores, notification};

/// A read of this many rows is one of a whole table.
const MANY: i64 = 10_000;
/// Often enough that the server plans for any values instead of those at hand.
const TIMES: u128 = 8;

/// A million notifications of three users, in which the planner could see a reason to read them all.
const NOTIFICATIONS: &str = "
    ALTER TABLE notifications SET UNLOGGED;
    ALTER TABLE inbox SET UNLOGGED;
    INSERT INTO notifications
    SELECT lpad(to_hex(n), 32, '0')::uuid, 'user-' || n % 3, 'ORDER_CONFIRMED', ('f' || lpad(to_hex(n), 31, '0'))::uuid, 'text',
        '2024-01-01T00:00:00Z'::timestamptz + n * interval '1 second'
    FROM generate_series(1, 1000000) n;
    INSERT INTO inbox SELECT 'notification-service', id, now() FROM notifications";

#[tokio::test]
async fn no_statement_reads_a_table_from_end_to_end() {
    let Some(fixture) = PostgresFixture::new() else { return };
    let store = fixture.open().await;
    fixture.execute(NOTIFICATIONS).await;
    fixture.count_scans().await;
    let user = UserId::new("user-1").unwrap();
    let mut after = None;
    for n in 1..=TIMES {
        let new = notification(5_000_000 + n, "user-1", 5);
        for told in [Told::Now, Told::Before] {
            assert_eq!(store.tell(&new, Timestamp::UNIX_EPOCH).await.unwrap(), told);
        }
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
