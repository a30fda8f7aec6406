//! Erasure of a customer whose events are not published yet, or get parked meanwhile.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use checkout::{
    app::erasure::{EraseError, Eraser, ParkedPolicy},
    domain::{CheckoutId, UserId},
    ports::{CheckoutWithoutHold, CustomerRecords, UserCheckouts},
};
use events::{
    BusError, DeadLetters, Delivery, Erase, EraseOutcome, EventBus, LetterPosition, Message, Position, Retain,
    Signatures, SqliteBus, StalledGroups, Subscription, Topic, dead_letter_topic,
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

/// One purchase, whose event may be unpublished.
#[derive(Default)]
struct FakeRecords {
    is_unpublished: AtomicBool,
    forgotten: Mutex<Vec<CheckoutId>>,
}

#[async_trait]
impl CustomerRecords for FakeRecords {
    async fn without_hold(&self, _: &UserId, _: i64) -> Result<Option<CheckoutWithoutHold>, StoreError> {
        panic!("not used here")
    }

    async fn user_checkouts(&self, _: &UserId, _: usize) -> Result<UserCheckouts, StoreError> {
        Ok(UserCheckouts::AllFinal(vec![purchase()]))
    }

    async fn unpublished(&self, _: &[CheckoutId]) -> Result<Option<CheckoutId>, StoreError> {
        Ok(self.is_unpublished.load(SeqCst).then_some(purchase()))
    }

    async fn forget(&self, _: &UserId, checkouts: &[CheckoutId]) -> Result<u64, StoreError> {
        self.forgotten.lock().unwrap().extend(checkouts);
        Ok(1)
    }
}

/// A log on which a group parks a message just before it is erased.
struct ParksDuringErase {
    log: SqliteBus,
    parks: AtomicBool,
}

#[async_trait]
impl Erase for ParksDuringErase {
    async fn erase(&self, topic: &str, groups: &[LetterPosition], keys: &[String]) -> Result<EraseOutcome, BusError> {
        if self.parks.swap(false, SeqCst) {
            let letters = dead_letter_topic(topic, ORDERS_GROUP);
            self.log.publish(&letters, vec![message()]).await?;
        }
        self.log.erase(topic, groups, keys).await
    }
}

#[async_trait]
impl Retain for ParksDuringErase {
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
impl EventBus for ParksDuringErase {
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

    fn stalled(&self) -> &StalledGroups {
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

/// A log with the event of the purchase, which all groups have read, and an eraser.
struct Fixture {
    _folder: TempDir,
    bus: Arc<ParksDuringErase>,
    records: Arc<FakeRecords>,
    eraser: Eraser,
}

impl Fixture {
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
        let bus = Arc::new(ParksDuringErase {
            log,
            parks: AtomicBool::new(false),
        });
        let records = Arc::new(FakeRecords::default());
        Self {
            _folder: folder,
            eraser: Eraser::new(Arc::new(MemoryJournal::default()), records.clone(), bus.clone()),
            bus,
            records,
        }
    }

    /// Whether the log still has the event and the purchase is not forgotten.
    async fn is_unchanged(&self) -> bool {
        let events = self.bus.read_all(TOPIC.name).await.unwrap();
        events.len() == 1 && self.records.forgotten.lock().unwrap().is_empty()
    }
}

#[tokio::test]
async fn an_event_parked_during_an_erasure_stops_the_erasure() {
    let fixture = Fixture::new().await;
    fixture.bus.parks.store(true, SeqCst);
    let erased = fixture.eraser.erase(&ann(), &[purchase()], ParkedPolicy::Keep).await;
    assert!(matches!(erased, Err(EraseError::Undelivered(_))), "{erased:?}");
    assert!(fixture.is_unchanged().await);
    let letters = DeadLetters::new(fixture.bus.clone());
    let letters = letters.list(TOPIC.name, ORDERS_GROUP).await.unwrap();
    assert_eq!(letters.len(), 1, "it can still be redriven");
    // A retry finds the parked event, and erases only if the policy drops it.
    let erased = fixture.eraser.erase(&ann(), &[purchase()], ParkedPolicy::Keep).await;
    assert!(matches!(erased, Err(EraseError::Parked(_))), "{erased:?}");
    assert!(fixture.is_unchanged().await);
    let erased = fixture.eraser.erase(&ann(), &[purchase()], ParkedPolicy::Drop).await;
    assert_eq!(erased.unwrap().checkouts, 1);
    assert!(fixture.bus.read_all(TOPIC.name).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_unpublished_event_stops_the_erasure() {
    let fixture = Fixture::new().await;
    fixture.records.is_unpublished.store(true, SeqCst);
    let erased = fixture.eraser.erase(&ann(), &[purchase()], ParkedPolicy::Keep).await;
    assert!(
        matches!(erased, Err(EraseError::Undelivered(Some(id))) if id == purchase()),
        "{erased:?}"
    );
    assert!(
        fixture.is_unchanged().await,
        "the log would get the event after its erasure"
    );
}
