//! No statement's cost grows with the number of notifications.

use jiff::Timestamp;
use notification::{domain::UserId, ports::Recorded};
use testing::{Fixture, PostgresFixture};

use crate::store::{StoreFixture, notification};

/// A statement that reads this many rows scans a whole table.
const MANY: i64 = 10_000;
/// Enough executions for the server to switch to a generic plan.
const TIMES: u128 = 8;

/// A million notifications of three users only, so a scan could look cheap to the planner.
const NOTIFICATIONS: &str = "
    ALTER TABLE notifications SET UNLOGGED;
    ALTER TABLE inbox SET UNLOGGED;
    INSERT INTO notifications
    SELECT lpad(to_hex(n), 32, '0')::uuid, 'user-' || n % 3, 'ORDER_CONFIRMED', ('f' || lpad(to_hex(n), 31, '0'))::uuid, 'text',
        '2024-01-01T00:00:00Z'::timestamptz + n * interval '1 second'
    FROM generate_series(1, 1000000) n;
    INSERT INTO inbox SELECT 'notification-service', id, now() FROM notifications";

#[tokio::test]
async fn no_statement_scans_a_whole_table() {
    let Some(fixture) = PostgresFixture::new() else { return };
    let store = fixture.open().await;
    fixture.execute(NOTIFICATIONS).await;
    fixture.count_scans().await;
    let user = UserId::new("user-1").unwrap();
    let mut after = None;
    for n in 1..=TIMES {
        let new = notification(5_000_000 + n, "user-1", 5);
        for outcome in [Recorded::Created, Recorded::Skipped] {
            assert_eq!(store.record(&new, Timestamp::UNIX_EPOCH).await.unwrap(), outcome);
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
