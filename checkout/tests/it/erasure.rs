//! Erasing a customer while their events are still on their way.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use checkout::{
    app::erasure::{DeadEvents, EraseError, Eraser},
    domain::{CheckoutId, UserId},
    ports::{CustomerRecords, Ended, Unheld},
};
use events::{
    BusError, DeadLetters, Delivery, Erase, Erased, EventBus, LookedAt, Message, Position, Retain, Signatures,
    SqliteBus, Stalled, Subscription, Topic, dead_letter_topic,
};
use jiff::Timestamp;
use proto::events::{CHECKOUTS, ORDERS_GROUP};
use runtime::Points;
use storage::StoreError;
use tempfile::TempDir;
use uuid::Uuid;

use crate::harness::MemoryJournal;

const TOPIC: Topic = Topic {
    partitions: 1,
    ..CHECKOUTS
};

/// One purchase of one customer, whose event may wait to be published.
#[derive(Default)]
struct Records {
    waits: AtomicBool,
    forgotten: Mutex<Vec<CheckoutId>>,
}

#[async_trait]
impl CustomerRecords for Records {
    async fn unheld(&self, _: &UserId, _: i64) -> Result<Option<Unheld>, StoreError> {
        panic!("nobody buys here")
    }

    async fn ended(&self, _: &UserId, _: usize) -> Result<Ended, StoreError> {
        Ok(Ended::All(vec![purchase()]))
    }

    async fn unpublished(&self, _: &[CheckoutId]) -> Result<Option<CheckoutId>, StoreError> {
        Ok(self.waits.load(SeqCst).then_some(purchase()))
    }

    async fn forget(&self, _: &UserId, checkouts: &[CheckoutId]) -> Result<u64, StoreError> {
        self.forgotten.lock().unwrap().extend(checkouts);
        Ok(1)
    }
}

/// A log on which a group parks a message at the very moment when it is to be erased.
struct ParksLate {
    log: SqliteBus,
    parks: AtomicBool,
}

#[async_trait]
impl Erase for ParksLate {
    async fn erase(&self, topic: &str, groups: &[LookedAt], keys: &[String]) -> Result<Erased, BusError> {
        if self.parks.swap(false, SeqCst) {
            let letters = dead_letter_topic(topic, ORDERS_GROUP);
            self.log.publish(&letters, vec![message()]).await?;
        }
        self.log.erase(topic, groups, keys).await
    }
}

#[async_trait]
impl Retain for ParksLate {
    fn retention(&self) -> Duration {
        self.log.retention()
    }

    async fn trim(&self, topic: Topic, before: Timestamp) -> Result<u64, BusError> {
        self.log.trim(topic, before).await
    }

    async fn has_before(&self, topic: Topic, before: Timestamp) -> Result<bool, BusError> {
        self.log.has_before(topic, before).await
    }
}

#[async_trait]
impl EventBus for ParksLate {
    async fn ensure_topic(&self, topic: &str, partitions: u32) -> Result<(), BusError> {
        self.log.ensure_topic(topic, partitions).await
    }

    async fn publish(&self, topic: &str, messages: Vec<Message>) -> Result<(), BusError> {
        self.log.publish(topic, messages).await
    }

    async fn subscribe(&self, group: &str, topic: Topic) -> Result<Box<dyn Subscription>, BusError> {
        self.log.subscribe(group, topic).await
    }

    async fn read_all(&self, topic: &str) -> Result<Vec<Delivery>, BusError> {
        self.log.read_all(topic).await
    }

    fn stalled(&self) -> &Stalled {
        self.log.stalled()
    }

    fn signatures(&self) -> &Signatures {
        self.log.signatures()
    }

    async fn is_up(&self) -> bool {
        self.log.is_up().await
    }
}

fn purchase() -> CheckoutId {
    CheckoutId(Uuid::from_u128(7))
}

fn ann() -> UserId {
    UserId::new("ann").unwrap()
}

fn message() -> Message {
    Message {
        key: purchase().to_string(),
        headers: Vec::new(),
        value: "{}".into(),
    }
}

/// A log with the event of the purchase, which all groups have read, and an eraser of its customer.
struct Shop {
    _folder: TempDir,
    bus: Arc<ParksLate>,
    records: Arc<Records>,
    eraser: Eraser,
}

impl Shop {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let log = SqliteBus::open(&folder.path().join("bus.db"), &Points::default())
            .await
            .unwrap();
        log.ensure_topic(TOPIC.name, TOPIC.partitions).await.unwrap();
        log.publish(TOPIC.name, vec![message()]).await.unwrap();
        for &group in CHECKOUTS.groups {
            log.ensure_topic(&dead_letter_topic(TOPIC.name, group), 1)
                .await
                .unwrap();
            let mut member = log.subscribe(group, TOPIC).await.unwrap();
            member
                .commit(&[Position {
                    partition: 0,
                    offset: 0,
                }])
                .await
                .unwrap();
        }
        let bus = Arc::new(ParksLate {
            log,
            parks: AtomicBool::new(false),
        });
        let records = Arc::new(Records::default());
        Self {
            _folder: folder,
            eraser: Eraser::new(Arc::new(MemoryJournal::default()), records.clone(), bus.clone()),
            bus,
            records,
        }
    }

    /// Whether the log still has the event, and the purchase its customer.
    async fn is_whole(&self) -> bool {
        let events = self.bus.read_all(TOPIC.name).await.unwrap();
        events.len() == 1 && self.records.forgotten.lock().unwrap().is_empty()
    }
}

#[tokio::test]
async fn an_event_that_is_parked_while_its_customer_is_erased_stays_and_is_told() {
    let shop = Shop::new().await;
    shop.bus.parks.store(true, SeqCst);
    let erased = shop.eraser.erase(&ann(), &[purchase()], DeadEvents::Keep).await;
    assert!(matches!(erased, Err(EraseError::Undelivered(_))), "{erased:?}");
    assert!(shop.is_whole().await);
    let letters = DeadLetters::new(shop.bus.clone());
    let letters = letters.list(TOPIC.name, ORDERS_GROUP).await.unwrap();
    assert_eq!(letters.len(), 1, "an order can still be made of it");
    // Another try finds it, and goes on only if it may go.
    let erased = shop.eraser.erase(&ann(), &[purchase()], DeadEvents::Keep).await;
    assert!(matches!(erased, Err(EraseError::Parked(_))), "{erased:?}");
    assert!(shop.is_whole().await);
    let erased = shop.eraser.erase(&ann(), &[purchase()], DeadEvents::Drop).await;
    assert_eq!(erased.unwrap().checkouts, 1);
    assert!(shop.bus.read_all(TOPIC.name).await.unwrap().is_empty());
}

#[tokio::test]
async fn nothing_is_erased_while_an_event_waits_to_be_published() {
    let shop = Shop::new().await;
    shop.records.waits.store(true, SeqCst);
    let erased = shop.eraser.erase(&ann(), &[purchase()], DeadEvents::Keep).await;
    assert!(
        matches!(erased, Err(EraseError::Undelivered(Some(id))) if id == purchase()),
        "{erased:?}"
    );
    assert!(
        shop.is_whole().await,
        "it would come to the log behind the erasure there"
    );
}
