//! The contract of the notifications' store, over all of its adapters.

use std::sync::Arc;

use async_trait::async_trait;
use events::Inbox;
use futures::future::join_all;
use jiff::Timestamp;
use notification::{
    domain::{CheckoutId, Kind, Notification, NotificationId, UserId},
    ports::{NotificationStore, Told},
    store::{PostgresNotificationStore, SqliteNotificationStore},
};
use runtime::Points;
use storage::{Cursor, StoreError};
use testing::{Fixture, PostgresFixture, SqliteFixture};
use uuid::Uuid;

/// Stores at one place.
#[async_trait]
pub(crate) trait Stores: Send + Sync {
    /// The store, as a process that starts now opens it.
    async fn open(&self) -> Arc<dyn NotificationStore>;
    async fn inbox(&self) -> Arc<dyn Inbox>;
}

#[async_trait]
impl Stores for SqliteFixture {
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
impl Stores for PostgresFixture {
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
    a_notification_comes_back_as_it_was,
    the_same_event_twice_tells_once,
    what_was_told_is_not_told_again_when_the_note_of_it_is_gone,
    what_a_user_was_told_is_there_for_that_user_only,
    what_was_told_is_there_after_a_reopen,
    of_sixty_four_racing_writers_one_tells,
    sixty_four_notifications_at_once_are_all_there,
    a_text_of_two_megabytes_comes_back_as_it_was,
    pages_have_every_notification_once_and_the_newest_first,
    a_page_may_begin_at_any_time,
    who_is_erased_has_no_notification_and_gets_none_later,
    what_is_told_during_an_erasure_is_told_before_it_or_never,
}

store_contract!(sqlite: SqliteFixture, postgres: PostgresFixture);

fn user(name: &str) -> UserId {
    UserId::new(name.to_owned()).unwrap()
}

/// The `n`th notification, of something that happened at millisecond `at`.
pub(crate) fn notification(n: u128, user_name: &str, at: i64) -> Notification {
    Notification {
        id: NotificationId(Uuid::from_u128(n)),
        user_id: user(user_name),
        kind: if n.is_multiple_of(2) {
            Kind::CheckoutFailed
        } else {
            Kind::OrderConfirmed
        },
        checkout_id: CheckoutId(Uuid::from_u128(n + 1_000_000)),
        text: format!("naïve \"text\" {n}; --"),
        created_at: Timestamp::from_millisecond(at).unwrap(),
    }
}

async fn tell(store: &Arc<dyn NotificationStore>, notification: &Notification) -> Told {
    store.tell(notification, Timestamp::UNIX_EPOCH).await.unwrap()
}

async fn all(store: &Arc<dyn NotificationStore>, name: &str) -> Vec<Notification> {
    let page = store.list(&user(name), None, 1_000_000).await.unwrap();
    assert_eq!(page.next, None);
    page.items
}

async fn a_notification_comes_back_as_it_was(fixture: &dyn Stores) {
    let store = fixture.open().await;
    let (first, second) = (notification(1, "ann", 5), notification(2, "ann", 4));
    for notification in [&first, &second] {
        assert_eq!(tell(&store, notification).await, Told::Now);
    }
    assert_eq!(all(&store, "ann").await, [first, second]);
    assert!(store.is_up().await);
}

async fn the_same_event_twice_tells_once(fixture: &dyn Stores) {
    let store = fixture.open().await;
    let first = notification(1, "ann", 5);
    assert_eq!(tell(&store, &first).await, Told::Now);
    let again = Notification {
        text: "other words".to_owned(),
        ..first.clone()
    };
    assert_eq!(tell(&store, &again).await, Told::Before);
    assert_eq!(all(&store, "ann").await, [first]);
}

async fn what_was_told_is_not_told_again_when_the_note_of_it_is_gone(fixture: &dyn Stores) {
    let store = fixture.open().await;
    let first = notification(1, "ann", 5);
    assert_eq!(tell(&store, &first).await, Told::Now);
    let group = proto::events::NOTIFICATION_GROUP;
    let gone = fixture
        .inbox()
        .await
        .prune(group, Timestamp::from_second(4_000_000_000).unwrap(), &[])
        .await;
    assert_eq!(gone.unwrap(), 1);
    assert_eq!(tell(&store, &first).await, Told::Before);
    assert_eq!(all(&store, "ann").await, [first]);
}

async fn what_a_user_was_told_is_there_for_that_user_only(fixture: &dyn Stores) {
    let store = fixture.open().await;
    tell(&store, &notification(1, "ann", 5)).await;
    for other in ["bob", "Ann", "ann ", "an_", "%", ""] {
        assert!(all(&store, other).await.is_empty(), "{other}");
    }
}

async fn what_was_told_is_there_after_a_reopen(fixture: &dyn Stores) {
    let first = fixture.open().await;
    let told = notification(1, "ann", 5);
    tell(&first, &told).await;
    drop(first);
    let second = fixture.open().await;
    assert_eq!(tell(&second, &told).await, Told::Before);
    assert_eq!(all(&second, "ann").await, [told]);
}

async fn of_sixty_four_racing_writers_one_tells(fixture: &dyn Stores) {
    let stores = [fixture.open().await, fixture.open().await];
    let told = notification(1, "ann", 5);
    let answers = join_all((0..64).map(|n| tell(&stores[n % 2], &told))).await;
    assert_eq!(answers.iter().filter(|told| **told == Told::Now).count(), 1);
    for store in &stores {
        assert_eq!(all(store, "ann").await, std::slice::from_ref(&told));
    }
}

async fn sixty_four_notifications_at_once_are_all_there(fixture: &dyn Stores) {
    let stores = [fixture.open().await, fixture.open().await];
    let told: Vec<_> = (0..64)
        .map(|n| notification(n, "ann", i64::try_from(n).unwrap()))
        .collect();
    let answers = join_all((0..).zip(&told).map(|(n, told): (usize, _)| tell(&stores[n % 2], told))).await;
    assert!(answers.iter().all(|told| *told == Told::Now));
    let newest_first: Vec<_> = told.into_iter().rev().collect();
    for store in &stores {
        assert_eq!(all(store, "ann").await, newest_first);
    }
}

async fn a_text_of_two_megabytes_comes_back_as_it_was(fixture: &dyn Stores) {
    let store = fixture.open().await;
    let told = Notification {
        text: "é".repeat(1 << 20),
        ..notification(1, "ann", 5)
    };
    tell(&store, &told).await;
    assert_eq!(all(&store, "ann").await, [told]);
}

async fn pages_have_every_notification_once_and_the_newest_first(fixture: &dyn Stores) {
    let store = fixture.open().await;
    // Five to a millisecond, before 1970 too; ids do not rise with time.
    let mut told: Vec<_> = (0..60)
        .map(|n: u128| notification(n * 37 % 61, "ann", i64::try_from(n).unwrap() / 5 - 3))
        .collect();
    for notification in &told {
        assert_eq!(tell(&store, notification).await, Told::Now);
    }
    tell(&store, &notification(500, "bob", 0)).await;
    told.sort_by_key(|notification| std::cmp::Reverse((notification.created_at, notification.id.0)));
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
        assert_eq!(found, told, "pages of {size}");
    }
}

async fn a_page_may_begin_at_any_time(fixture: &dyn Stores) {
    let store = fixture.open().await;
    let told = notification(1, "ann", 5);
    tell(&store, &told).await;
    // Who makes up a token of their own may name times that no store has.
    let ann = user("ann");
    let behind = |at| store.list(&ann, Some(Cursor { at, id: Uuid::max() }), 2);
    assert_eq!(behind(Timestamp::MIN).await.unwrap().items, []);
    assert_eq!(behind(Timestamp::MAX).await.unwrap().items, [told]);
}

async fn who_is_erased_has_no_notification_and_gets_none_later(fixture: &dyn Stores) {
    let store = fixture.open().await;
    let told: Vec<_> = (1..=5).map(|n| notification(n, "ann", 5)).collect();
    for notification in &told {
        tell(&store, notification).await;
    }
    let of_bob = notification(6, "bob", 5);
    tell(&store, &of_bob).await;
    let (late, new) = (notification(7, "ann", 5), notification(8, "ann", 5));
    let checkouts = [told[0].checkout_id, late.checkout_id];
    let erase = async |limit| store.erase(&user("ann"), &checkouts, limit).await.unwrap();
    assert_eq!((erase(3).await, erase(3).await, erase(3).await), (3, 2, 0));
    assert_eq!(all(&store, "ann").await, []);
    assert_eq!(all(&store, "bob").await, [of_bob]);
    // The events come again, or for the first time.
    assert_eq!(tell(&store, &told[0]).await, Told::Before);
    assert_eq!(tell(&store, &late).await, Told::Before);
    assert_eq!(all(&store, "ann").await, []);
    // Who has the same id now is a new customer.
    assert_eq!(tell(&store, &new).await, Told::Now);
    assert_eq!(all(&store, "ann").await, [new]);
}

async fn what_is_told_during_an_erasure_is_told_before_it_or_never(fixture: &dyn Stores) {
    let stores = [fixture.open().await, fixture.open().await];
    let told: Vec<_> = (0..64).map(|n| notification(n, "ann", 5)).collect();
    let checkouts: Vec<_> = told.iter().map(|told| told.checkout_id).collect();
    let tellers = join_all((0..).zip(&told).map(|(n, told): (usize, _)| tell(&stores[n % 2], told)));
    let ann = user("ann");
    let erasure = stores[0].erase(&ann, &checkouts, 1000);
    let (_, erased) = tokio::join!(tellers, erasure);
    erased.unwrap();
    assert_eq!(all(&stores[1], "ann").await, []);
}

#[tokio::test]
async fn a_notification_that_postgresql_cannot_keep_is_told_from_a_store_that_is_away() {
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
        let told = store.tell(&impossible, Timestamp::UNIX_EPOCH).await;
        assert!(matches!(told, Err(StoreError::Corrupt(_))), "{told:?}");
    }
    assert!(all(&store, "ann").await.is_empty());
}
