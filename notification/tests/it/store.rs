//! The contract of the notification store, over all adapters.

use std::sync::Arc;

use async_trait::async_trait;
use events::Inbox;
use futures::future::join_all;
use jiff::Timestamp;
use notification::{
    domain::{CheckoutId, Notification, NotificationId, NotificationKind, UserId},
    ports::{NotificationStore, Recorded},
    store::{PostgresNotificationStore, SqliteNotificationStore},
};
use runtime::Points;
use storage::{Cursor, StoreError};
use testing::{Fixture, PostgresFixture, SqliteFixture};
use uuid::Uuid;

/// A database. Each call opens the store anew, as another process would.
#[async_trait]
pub(crate) trait StoreFixture: Send + Sync {
    async fn open(&self) -> Arc<dyn NotificationStore>;
    async fn inbox(&self) -> Arc<dyn Inbox>;
}

#[async_trait]
impl StoreFixture for SqliteFixture {
    async fn open(&self) -> Arc<dyn NotificationStore> {
        let store = SqliteNotificationStore::open(&self.file("notification.db"), &Points::none()).await;
        Arc::new(store.unwrap())
    }

    async fn inbox(&self) -> Arc<dyn Inbox> {
        let store = SqliteNotificationStore::open(&self.file("notification.db"), &Points::none()).await;
        Arc::new(store.unwrap().inbox())
    }
}

#[async_trait]
impl StoreFixture for PostgresFixture {
    async fn open(&self) -> Arc<dyn NotificationStore> {
        let store = PostgresNotificationStore::open(&self.address(), &self.schema, &Points::none()).await;
        Arc::new(store.unwrap())
    }

    async fn inbox(&self) -> Arc<dyn Inbox> {
        let store = PostgresNotificationStore::open(&self.address(), &self.schema, &Points::none()).await;
        Arc::new(store.unwrap().inbox())
    }
}

testing::contract! { store_contract:
    a_notification_is_read_as_it_was_recorded,
    a_repeated_event_has_no_further_effect,
    a_notification_is_not_repeated_after_its_inbox_row_was_pruned,
    a_notification_is_visible_to_its_user_only,
    notifications_survive_a_reopen,
    of_64_concurrent_writers_one_creates_the_notification,
    of_64_notifications_recorded_at_once_none_is_lost,
    a_text_of_two_megabytes_is_read_as_it_was_recorded,
    pages_contain_every_notification_once_newest_first,
    a_cursor_may_have_any_time,
    an_erased_customer_has_no_notification_and_gets_none_later,
    a_notification_recorded_during_an_erasure_is_deleted_or_skipped,
}

store_contract!(sqlite: SqliteFixture, postgres: PostgresFixture);

fn user(name: &str) -> UserId {
    UserId::new(name.to_owned()).unwrap()
}

/// The `n`th notification, created at millisecond `at`.
pub(crate) fn notification(n: u128, user_name: &str, at: i64) -> Notification {
    Notification {
        id: NotificationId(Uuid::from_u128(n)),
        user_id: user(user_name),
        kind: if n.is_multiple_of(2) {
            NotificationKind::CheckoutFailed
        } else {
            NotificationKind::OrderConfirmed
        },
        checkout_id: CheckoutId(Uuid::from_u128(n + 1_000_000)),
        text: format!("naïve \"text\" {n}; --"),
        created_at: Timestamp::from_millisecond(at).unwrap(),
    }
}

async fn record(store: &Arc<dyn NotificationStore>, notification: &Notification) -> Recorded {
    store.record(notification, Timestamp::UNIX_EPOCH).await.unwrap()
}

async fn all(store: &Arc<dyn NotificationStore>, name: &str) -> Vec<Notification> {
    all_of(store, &user(name)).await
}

async fn all_of(store: &Arc<dyn NotificationStore>, user: &UserId) -> Vec<Notification> {
    let page = store.list(user, None, 1_000_000).await.unwrap();
    assert_eq!(page.next, None);
    page.items
}

async fn a_notification_is_read_as_it_was_recorded(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let (first, second) = (notification(1, "ann", 5), notification(2, "ann", 4));
    for notification in [&first, &second] {
        assert_eq!(record(&store, notification).await, Recorded::Created);
    }
    assert_eq!(all(&store, "ann").await, [first, second]);
    assert!(store.is_up().await);
}

async fn a_repeated_event_has_no_further_effect(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let first = notification(1, "ann", 5);
    assert_eq!(record(&store, &first).await, Recorded::Created);
    let again = Notification {
        text: "another text".to_owned(),
        ..first.clone()
    };
    assert_eq!(record(&store, &again).await, Recorded::Skipped);
    assert_eq!(all(&store, "ann").await, [first]);
}

async fn a_notification_is_not_repeated_after_its_inbox_row_was_pruned(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let first = notification(1, "ann", 5);
    assert_eq!(record(&store, &first).await, Recorded::Created);
    let group = proto::events::NOTIFICATION_GROUP;
    let pruned = fixture
        .inbox()
        .await
        .prune(group, Timestamp::from_second(4_000_000_000).unwrap(), &[])
        .await;
    assert_eq!(pruned.unwrap(), 1);
    assert_eq!(record(&store, &first).await, Recorded::Skipped);
    assert_eq!(all(&store, "ann").await, [first]);
}

async fn a_notification_is_visible_to_its_user_only(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    record(&store, &notification(1, "ann", 5)).await;
    let nameless = UserId::stored(String::new());
    for other in ["bob", "Ann", "ann ", "an_", "%"]
        .map(user)
        .into_iter()
        .chain([nameless])
    {
        assert!(all_of(&store, &other).await.is_empty(), "{other:?}");
    }
}

async fn notifications_survive_a_reopen(fixture: &dyn StoreFixture) {
    let first = fixture.open().await;
    let recorded = notification(1, "ann", 5);
    record(&first, &recorded).await;
    drop(first);
    let second = fixture.open().await;
    assert_eq!(record(&second, &recorded).await, Recorded::Skipped);
    assert_eq!(all(&second, "ann").await, [recorded]);
}

async fn of_64_concurrent_writers_one_creates_the_notification(fixture: &dyn StoreFixture) {
    let stores = [fixture.open().await, fixture.open().await];
    let recorded = notification(1, "ann", 5);
    let outcomes = join_all((0..64).map(|n| record(&stores[n % 2], &recorded))).await;
    assert_eq!(outcomes.iter().filter(|r| **r == Recorded::Created).count(), 1);
    for store in &stores {
        assert_eq!(all(store, "ann").await, std::slice::from_ref(&recorded));
    }
}

async fn of_64_notifications_recorded_at_once_none_is_lost(fixture: &dyn StoreFixture) {
    let stores = [fixture.open().await, fixture.open().await];
    let new: Vec<_> = (0..64)
        .map(|n| notification(n, "ann", i64::try_from(n).unwrap()))
        .collect();
    let outcomes = join_all((0..).zip(&new).map(|(n, one): (usize, _)| record(&stores[n % 2], one))).await;
    assert!(outcomes.iter().all(|outcome| *outcome == Recorded::Created));
    let newest_first: Vec<_> = new.into_iter().rev().collect();
    for store in &stores {
        assert_eq!(all(store, "ann").await, newest_first);
    }
}

async fn a_text_of_two_megabytes_is_read_as_it_was_recorded(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let stored = Notification {
        text: "é".repeat(1 << 20),
        ..notification(1, "ann", 5)
    };
    record(&store, &stored).await;
    assert_eq!(all(&store, "ann").await, [stored]);
}

async fn pages_contain_every_notification_once_newest_first(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    // Five per millisecond, some before 1970; ids do not grow with time.
    let mut notifications: Vec<_> = (0..60)
        .map(|n: u128| notification(n * 37 % 61, "ann", i64::try_from(n).unwrap() / 5 - 3))
        .collect();
    for notification in &notifications {
        assert_eq!(record(&store, notification).await, Recorded::Created);
    }
    record(&store, &notification(500, "bob", 0)).await;
    notifications.sort_by_key(|notification| std::cmp::Reverse((notification.created_at, notification.id.0)));
    for size in [1, 7, 59, 60, 61] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = store.list(&user("ann"), after, size).await.unwrap();
            assert!(page.items.len() <= usize::try_from(size).unwrap());
            found.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, notifications, "pages of {size}");
    }
}

async fn a_cursor_may_have_any_time(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let stored = notification(1, "ann", 5);
    record(&store, &stored).await;
    // A forged token may contain times that no store can represent.
    let ann = user("ann");
    let page_after = |at| store.list(&ann, Some(Cursor { at, id: Uuid::max() }), 2);
    assert_eq!(page_after(Timestamp::MIN).await.unwrap().items, []);
    assert_eq!(page_after(Timestamp::MAX).await.unwrap().items, [stored]);
}

async fn an_erased_customer_has_no_notification_and_gets_none_later(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let notifications: Vec<_> = (1..=5).map(|n| notification(n, "ann", 5)).collect();
    for notification in &notifications {
        record(&store, notification).await;
    }
    let bobs = notification(6, "bob", 5);
    record(&store, &bobs).await;
    let (late, new) = (notification(7, "ann", 5), notification(8, "ann", 5));
    let checkouts = [notifications[0].checkout_id, late.checkout_id];
    let erase = async |limit| store.erase(&user("ann"), &checkouts, limit).await.unwrap();
    assert_eq!((erase(3).await, erase(3).await, erase(3).await), (3, 2, 0));
    assert_eq!(all(&store, "ann").await, []);
    assert_eq!(all(&store, "bob").await, [bobs]);
    // A redelivered event, and a late one.
    assert_eq!(record(&store, &notifications[0]).await, Recorded::Skipped);
    assert_eq!(record(&store, &late).await, Recorded::Skipped);
    assert_eq!(all(&store, "ann").await, []);
    // The same id is a new customer from now on.
    assert_eq!(record(&store, &new).await, Recorded::Created);
    assert_eq!(all(&store, "ann").await, [new]);
}

async fn a_notification_recorded_during_an_erasure_is_deleted_or_skipped(fixture: &dyn StoreFixture) {
    let stores = [fixture.open().await, fixture.open().await];
    let new: Vec<_> = (0..64).map(|n| notification(n, "ann", 5)).collect();
    let checkouts: Vec<_> = new.iter().map(|one| one.checkout_id).collect();
    let recorders = join_all((0..).zip(&new).map(|(n, one): (usize, _)| record(&stores[n % 2], one)));
    let ann = user("ann");
    let erasure = stores[0].erase(&ann, &checkouts, 1000);
    let (_, erased) = tokio::join!(recorders, erasure);
    erased.unwrap();
    assert_eq!(all(&stores[1], "ann").await, []);
}

#[tokio::test]
async fn a_notification_that_postgresql_cannot_store_is_corrupt_and_not_unavailable() {
    let Some(fixture) = PostgresFixture::new() else {
        return;
    };
    let store = fixture.open().await;
    let nul = Notification {
        text: "a\0b".to_owned(),
        ..notification(1, "ann", 5)
    };
    let too_early = Notification {
        created_at: Timestamp::MIN,
        ..notification(2, "ann", 5)
    };
    for impossible in [nul, too_early] {
        let recorded = store.record(&impossible, Timestamp::UNIX_EPOCH).await;
        assert!(matches!(recorded, Err(StoreError::Corrupt(_))), "{recorded:?}");
    }
    assert!(all(&store, "ann").await.is_empty());
}
