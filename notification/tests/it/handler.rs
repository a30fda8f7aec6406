//! The event handler, alone and behind a consumer.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use events::{Consumer, DeadLetters, Event, EventBus, Handler, HandlerError, SqliteBus, Topic};
use jiff::Timestamp;
use notification::{
    Notifier,
    domain::{CheckoutId, Notification, NotificationKind, UserId},
    ports::{NotificationStore, Recorded},
    store::SqliteNotificationStore,
};
use proto::events::{CheckoutCompleted, CheckoutFailed};
use runtime::{Clock, Points, Tasks};
use storage::{Cursor, Page, StoreError};
use tokio::sync::watch;
use uuid::Uuid;

use crate::support::{completed, ended_at, failed, purchase, raw, refusal};

struct Harness {
    handler: Arc<Notifier>,
    store: Arc<SqliteNotificationStore>,
    folder: tempfile::TempDir,
}

async fn harness() -> Harness {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notification.db");
    let store = Arc::new(SqliteNotificationStore::open(&path, &Points::none()).await.unwrap());
    Harness {
        handler: Arc::new(Notifier::new(store.clone(), Clock::from_fn(ended_at))),
        store,
        folder,
    }
}

impl Harness {
    async fn notifications_of(&self, user: &str) -> Vec<Notification> {
        self.store
            .list(&UserId::new(user.to_owned()).unwrap(), None, 1_000)
            .await
            .unwrap()
            .items
    }

    /// Handles an event that must be poisoned and returns the reason.
    async fn poison_reason(&self, event: &Event) -> String {
        match self.handler.handle(event).await {
            Err(HandlerError::Poisoned(reason)) => reason,
            other => panic!("not poisoned: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_completed_checkout_becomes_a_confirmation() {
    let harness = harness().await;
    harness
        .handler
        .handle(&completed(7, &purchase(1, "ann")))
        .await
        .unwrap();
    let found = harness.notifications_of("ann").await;
    let [notification] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(notification.id.0, Uuid::from_u128(7));
    assert_eq!(
        (notification.kind, notification.created_at),
        (NotificationKind::OrderConfirmed, ended_at())
    );
    assert_eq!(notification.checkout_id.0, purchase(1, "").checkout_id);
    let order = purchase(1, "").order_id;
    assert_eq!(
        notification.text,
        format!("Your order {order} is confirmed: 3 items, 2629.97 USD.")
    );
}

#[tokio::test]
async fn a_failed_checkout_becomes_a_notification_with_its_message() {
    let harness = harness().await;
    harness.handler.handle(&failed(7, &refusal(1, "ann"))).await.unwrap();
    let found = harness.notifications_of("ann").await;
    let [notification] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(
        (notification.id.0, notification.kind),
        (Uuid::from_u128(7), NotificationKind::CheckoutFailed)
    );
    assert!(
        notification.text.ends_with("did not go through: the card was declined"),
        "{}",
        notification.text
    );
}

#[tokio::test]
async fn a_redelivered_event_creates_one_notification() {
    let harness = harness().await;
    for event in [completed(1, &purchase(1, "ann")), failed(2, &refusal(2, "ann"))] {
        for _ in 0..2 {
            harness.handler.handle(&event).await.unwrap();
        }
    }
    assert_eq!(harness.notifications_of("ann").await.len(), 2);
}

#[tokio::test]
async fn the_handler_takes_completed_and_failed_checkouts_only() {
    let known = harness().await.handler.kinds();
    assert_eq!(known, [CheckoutCompleted::KIND, CheckoutFailed::KIND]);
}

type Change = fn(&mut CheckoutCompleted);

#[tokio::test]
async fn an_invalid_purchase_is_poisoned_with_the_reason() {
    let harness = harness().await;
    let changes: [(Change, &str); 5] = [
        (|p| p.items.clear(), "the purchase has no items"),
        (
            |p| p.items[1].quantity = 0,
            "the quantity of product 2: a quantity is between 1",
        ),
        (|p| p.items[0].quantity = -5, "the quantity of product 1"),
        (|p| p.items[0].quantity = i64::MAX, "the quantity of product 1"),
        (|p| p.user_id.clear(), "user_id"),
    ];
    for (change, expected) in changes {
        let mut wrong = purchase(1, "ann");
        change(&mut wrong);
        let reason = harness.poison_reason(&completed(1, &wrong)).await;
        assert!(reason.contains(expected), "{reason} does not say {expected}");
    }
    let reason = harness.poison_reason(&failed(1, &refusal(1, "a\nb"))).await;
    assert!(reason.contains("user_id"), "{reason}");
    // No inbox row was written for them.
    harness
        .handler
        .handle(&completed(1, &purchase(1, "ann")))
        .await
        .unwrap();
    assert_eq!(harness.notifications_of("ann").await.len(), 1);
}

#[tokio::test]
async fn data_that_cannot_be_read_are_poisoned() {
    let harness = harness().await;
    for (kind, name) in [
        (CheckoutCompleted::KIND, "CheckoutCompleted"),
        (CheckoutFailed::KIND, "CheckoutFailed"),
    ] {
        for data in [&b""[..], b"null", b"{}", b"[]", b"{\"checkout_id\": 1", &[0xff]] {
            let reason = harness.poison_reason(&raw(1, kind, data.to_vec())).await;
            assert!(reason.starts_with(&format!("the data are not a {name}: ")), "{reason}");
        }
    }
}

struct UnavailableStore;

#[async_trait]
impl NotificationStore for UnavailableStore {
    async fn record(&self, _: &Notification, _: Timestamp) -> Result<Recorded, StoreError> {
        Err(StoreError::unavailable("down"))
    }

    async fn list(&self, _: &UserId, _: Option<Cursor>, _: u32) -> Result<Page<Notification>, StoreError> {
        Err(StoreError::unavailable("down"))
    }

    async fn erase(&self, _: &UserId, _: &[CheckoutId], _: u32) -> Result<u64, StoreError> {
        Err(StoreError::unavailable("down"))
    }

    async fn is_up(&self) -> bool {
        false
    }

    fn transactions(&self) -> Tasks {
        Tasks::new()
    }
}

#[tokio::test]
async fn an_unavailable_store_does_not_poison_an_event() {
    let notifier = Notifier::new(Arc::new(UnavailableStore), Clock::from_fn(ended_at));
    let handled = notifier.handle(&completed(1, &purchase(1, "ann"))).await;
    assert!(matches!(handled, Err(HandlerError::Transient(_))), "{handled:?}");
}

/// Counts handled events.
struct CountingHandler {
    handler: Arc<Notifier>,
    count: watch::Sender<usize>,
}

#[async_trait]
impl Handler for CountingHandler {
    fn kinds(&self) -> &'static [&'static str] {
        self.handler.kinds()
    }

    async fn handle(&self, event: &Event) -> Result<(), HandlerError> {
        let result = self.handler.handle(event).await;
        self.count.send_modify(|count| *count += 1);
        result
    }
}

#[tokio::test]
async fn a_topic_that_is_redelivered_twice_from_its_start_has_no_further_effect() {
    let harness = harness().await;
    let topic = Topic {
        name: "checkouts",
        ..proto::events::CHECKOUTS
    };
    let bus = SqliteBus::open(&harness.folder.path().join("bus.db"), &Points::none())
        .await
        .unwrap();
    let bus: Arc<dyn EventBus> = Arc::new(bus);
    bus.ensure_topic(topic.name, topic.partitions).await.unwrap();
    let mut messages: Vec<_> = (0..30)
        .map(|n| completed(n, &purchase(n, "ann")).to_message())
        .collect();
    messages.extend((30..60).map(|n| failed(n, &refusal(n, "ann")).to_message()));
    bus.publish(topic.name, messages).await.unwrap();
    let mut before = Vec::new();
    for group in ["first", "second", "third"] {
        let (count, mut counted) = watch::channel(0);
        let handler = Arc::new(CountingHandler {
            handler: harness.handler.clone(),
            count,
        });
        let (clock, points) = (Clock::from_fn(ended_at), Points::none());
        let consumer = Consumer {
            group,
            topic,
            bus: bus.clone(),
            handler,
            clock,
            points,
        };
        let tasks = Tasks::new();
        tasks.spawn(consumer.run(tasks.clone()));
        let all = counted.wait_for(|count| *count == 60);
        tokio::time::timeout(Duration::from_mins(1), all)
            .await
            .unwrap()
            .unwrap();
        assert!(tasks.stop(Duration::from_secs(10)).await);
        let found = harness.notifications_of("ann").await;
        assert_eq!(found.len(), 60);
        assert!(before.is_empty() || before == found, "{group} changed something");
        assert!(
            DeadLetters::new(bus.clone())
                .list(topic.name, group)
                .await
                .unwrap()
                .is_empty()
        );
        before = found;
    }
}
