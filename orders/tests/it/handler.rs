//! The event handler, alone and behind a consumer.

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use events::{Consumer, DeadLetters, Event, EventBus, Handler, HandlerError, SqliteBus, Topic, dead_letter_topic};
use jiff::Timestamp;
use money::Amount;
use orders::{
    OrderRecorder,
    domain::{CheckoutId, Order, OrderId, UserId},
    ports::{OrderStore, Recorded},
    store::SqliteOrderStore,
};
use proto::events::CheckoutCompleted;
use runtime::{Clock, Points, Tasks};
use storage::{Cursor, Page, StoreError};
use tokio::sync::watch;
use uuid::Uuid;

use crate::support::{bought_at, event, item, purchase, raw_event};

struct Harness {
    handler: Arc<OrderRecorder>,
    store: Arc<SqliteOrderStore>,
    folder: tempfile::TempDir,
}

async fn harness() -> Harness {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteOrderStore::open(&folder.path().join("orders.db"), &Points::none())
        .await
        .unwrap();
    let store = Arc::new(store);
    Harness {
        handler: Arc::new(OrderRecorder::new(store.clone(), Clock::from_fn(bought_at))),
        store,
        folder,
    }
}

impl Harness {
    async fn orders_of(&self, user: &str) -> Vec<Order> {
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
async fn a_completed_checkout_becomes_its_order() {
    let harness = harness().await;
    harness.handler.handle(&event(1, &purchase(1, "ann"))).await.unwrap();
    let orders = harness.orders_of("ann").await;
    let [order] = &orders[..] else { panic!("{orders:?}") };
    assert_eq!(order.id(), OrderId(Uuid::from_u128(2_000_001)));
    assert_eq!(order.checkout_id().0, Uuid::from_u128(1_000_001));
    assert_eq!(order.total().minor_units(), 262_997);
    assert_eq!((order.created_at(), order.updated_at()), (bought_at(), bought_at()));
    let lines: Vec<_> = order
        .lines()
        .iter()
        .map(|l| {
            (
                l.product_id().get(),
                l.product_name(),
                l.quantity().get(),
                l.price().minor_units(),
            )
        })
        .collect();
    assert_eq!(lines, [(1, "Laptop", 2, 129_999), (2, "Mouse", 1, 2_999)]);
}

#[tokio::test]
async fn a_redelivered_event_creates_one_order() {
    let harness = harness().await;
    let event = event(1, &purchase(1, "ann"));
    for _ in 0..2 {
        harness.handler.handle(&event).await.unwrap();
    }
    assert_eq!(harness.orders_of("ann").await.len(), 1);
}

#[tokio::test]
async fn a_second_event_of_a_checkout_changes_nothing() {
    let harness = harness().await;
    harness.handler.handle(&event(1, &purchase(1, "ann"))).await.unwrap();
    let before = harness.orders_of("ann").await;
    let mut other = purchase(1, "ann");
    other.items.pop();
    other.total_amount = Amount(259_998);
    harness.handler.handle(&event(2, &other)).await.unwrap();
    assert_eq!(harness.orders_of("ann").await, before);
}

#[tokio::test]
async fn the_handler_takes_completed_checkouts_only() {
    assert_eq!(harness().await.handler.kinds(), [CheckoutCompleted::KIND]);
}

#[tokio::test]
async fn an_unknown_field_is_ignored() {
    let harness = harness().await;
    let mut json = serde_json::to_value(purchase(1, "ann")).unwrap();
    json["invented_later"] = serde_json::json!({"a": [1]});
    json["items"][0]["colour"] = serde_json::json!("red");
    // A JSON tree loses the raw text of numbers; 2629.97 survives that.
    let text = json.to_string();
    harness
        .handler
        .handle(&raw_event(1, CheckoutCompleted::KIND, text.into_bytes()))
        .await
        .unwrap();
    assert_eq!(harness.orders_of("ann").await.len(), 1);
}

type Change = fn(&mut CheckoutCompleted);

#[tokio::test]
async fn a_purchase_with_wrong_sums_or_ids_is_poisoned_with_the_reason() {
    let harness = harness().await;
    let changes: [(Change, &str); 12] = [
        (
            |p| p.items[0].subtotal = Amount(259_999),
            "line 1 (product 1) does not agree: its subtotal is 259999",
        ),
        (
            |p| p.items[1].unit_price = Amount(-1),
            "line 2 (product 2) does not agree: its price is negative",
        ),
        (
            |p| p.items[1].quantity = 0,
            "line 2 (product 2) does not agree: a quantity is between 1",
        ),
        (|p| p.items[0].quantity = -2, "a quantity is between 1"),
        (|p| p.items[0].quantity = i64::MAX, "a quantity is between 1"),
        (|p| p.items[0].unit_price = Amount(i64::MAX), "too large"),
        (
            |p| p.total_amount = Amount(262_996),
            "its total is 262996 and not 262997",
        ),
        (|p| p.total_amount = Amount(0), "its total is 0"),
        (|p| p.items.clear(), "it has no lines"),
        (
            |p| p.items = vec![item(1, "a", 1, i64::MAX), item(2, "b", 1, 1)],
            "too large",
        ),
        (|p| p.user_id.clear(), "user_id"),
        (|p| p.user_id = "a\u{0}b".to_owned(), "user_id"),
    ];
    for (change, expected) in changes {
        let mut wrong = purchase(1, "ann");
        change(&mut wrong);
        let reason = harness.poison_reason(&event(1, &wrong)).await;
        assert!(reason.contains(expected), "{reason} does not say {expected}");
    }
    assert!(harness.orders_of("ann").await.is_empty());
    // No inbox row was written for them.
    harness.handler.handle(&event(1, &purchase(1, "ann"))).await.unwrap();
    assert_eq!(harness.orders_of("ann").await.len(), 1);
}

#[tokio::test]
async fn data_that_cannot_be_read_are_poisoned() {
    let harness = harness().await;
    let good = serde_json::to_string(&purchase(1, "ann")).unwrap();
    let wrong = [
        String::new(),
        "null".to_owned(),
        "{}".to_owned(),
        good[..good.len() - 1].to_owned(),
        good.replace("USD", "usd"),
        good.replace("2629.97", "2629.975"),
        good.replace("2629.97", "\"2629.97\""),
        good.replace("2629.97", "92233720368547758.08"),
        good.replace(&Uuid::from_u128(2_000_001).to_string(), "order-1"),
        good.replace("2023-11-14T", "yesterday"),
    ];
    for data in wrong {
        assert_ne!(data, good);
        let reason = harness
            .poison_reason(&raw_event(1, CheckoutCompleted::KIND, data.into_bytes()))
            .await;
        assert!(reason.starts_with("the data are not a CheckoutCompleted: "), "{reason}");
    }
    let reason = harness
        .poison_reason(&raw_event(1, CheckoutCompleted::KIND, vec![0xff, 0xfe]))
        .await;
    assert!(reason.starts_with("the data are not a CheckoutCompleted: "), "{reason}");
}

#[tokio::test]
async fn the_order_id_of_another_checkout_is_poisoned() {
    let harness = harness().await;
    harness.handler.handle(&event(1, &purchase(1, "ann"))).await.unwrap();
    let other = CheckoutCompleted {
        order_id: purchase(1, "ann").order_id,
        ..purchase(2, "bob")
    };
    let reason = harness.poison_reason(&event(2, &other)).await;
    assert!(reason.contains("is the order of another checkout"), "{reason}");
    assert!(harness.orders_of("bob").await.is_empty());
}

struct UnavailableStore;

#[async_trait]
impl OrderStore for UnavailableStore {
    async fn record(&self, _: &Order, _: Uuid, _: Timestamp) -> Result<Recorded, StoreError> {
        Err(StoreError::unavailable("down"))
    }

    async fn find(&self, _: &UserId, _: OrderId) -> Result<Option<Order>, StoreError> {
        Err(StoreError::unavailable("down"))
    }

    async fn list(&self, _: &UserId, _: Option<Cursor>, _: u32) -> Result<Page<Order>, StoreError> {
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
    let recorder = OrderRecorder::new(Arc::new(UnavailableStore), Clock::from_fn(bought_at));
    let handled = recorder.handle(&event(1, &purchase(1, "ann"))).await;
    assert!(matches!(handled, Err(HandlerError::Transient(_))), "{handled:?}");
}

const TOPIC: Topic = Topic {
    name: "purchases",
    key: "checkout id",
    partitions: 3,
    groups: &[],
};

async fn bus(folder: &Path) -> Arc<dyn EventBus> {
    let bus = SqliteBus::open(&folder.join("bus.db"), &Points::none()).await.unwrap();
    bus.ensure_topic(TOPIC.name, TOPIC.partitions).await.unwrap();
    Arc::new(bus)
}

/// Counts handled events.
struct CountingHandler {
    handler: Arc<OrderRecorder>,
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

/// Reads the topic from its start as a new group, until `events` are handled and `parked` of them are dead letters.
async fn read_from_the_start(
    harness: &Harness,
    bus: &Arc<dyn EventBus>,
    group: &'static str,
    events: usize,
    parked: usize,
) {
    let (tasks, clock) = (Tasks::new(), Clock::from_fn(bought_at));
    let (count, mut counted) = watch::channel(0);
    let handler = Arc::new(CountingHandler {
        handler: harness.handler.clone(),
        count,
    });
    let consumer = Consumer {
        group,
        topic: TOPIC,
        bus: bus.clone(),
        handler,
        clock,
        points: Points::none(),
    };
    let letters = dead_letter_topic(TOPIC.name, group);
    bus.ensure_topic(&letters, 1).await.unwrap();
    let letters = Topic {
        name: letters.leak(),
        partitions: 1,
        ..TOPIC
    };
    let mut letters = bus.subscribe("test", letters).await.unwrap();
    tasks.spawn(consumer.run(tasks.clone()));
    let read = async {
        counted.wait_for(|count| *count == events).await.unwrap();
        let mut seen = 0;
        while seen < parked {
            seen += letters.next().await.unwrap().len();
        }
    };
    tokio::time::timeout(Duration::from_mins(1), read).await.unwrap();
    assert!(tasks.stop(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn a_topic_that_is_redelivered_twice_from_its_start_has_no_further_effect() {
    let harness = harness().await;
    let bus = bus(harness.folder.path()).await;
    let mut messages: Vec<_> = (0..30).map(|n| event(n, &purchase(n, "ann")).to_message()).collect();
    let wrong = CheckoutCompleted {
        total_amount: Amount(1),
        ..purchase(100, "ann")
    };
    for n in 0..40 {
        messages.push(event(100 + n, &wrong).to_message());
    }
    bus.publish(TOPIC.name, messages).await.unwrap();
    read_from_the_start(&harness, &bus, "first", 70, 40).await;
    let orders = harness.orders_of("ann").await;
    assert_eq!(orders.len(), 30);
    for group in ["second", "third"] {
        read_from_the_start(&harness, &bus, group, 70, 40).await;
        assert_eq!(harness.orders_of("ann").await, orders);
    }
    let letters = DeadLetters::new(bus).list(TOPIC.name, "first").await.unwrap();
    assert_eq!(letters.len(), 40);
    assert!(
        letters
            .iter()
            .all(|letter| letter.reason.contains("its total is 1 and not 262997"))
    );
}
