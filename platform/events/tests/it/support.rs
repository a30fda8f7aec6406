//! Numbered events, a bus with faults, and a recording handler.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use events::{
    BusError, Consumer, DeadLetters, Delivery, Erase, EraseOutcome, Event, EventBus, Handler, HandlerError,
    LetterPosition, Message, Parked, Position, Retain, Signatures, StalledGroups, Subscription, Topic,
};
use jiff::Timestamp;
use runtime::{Clock, Points, RequestContext, Tasks};
use tokio::sync::watch;
use uuid::Uuid;

pub(crate) const TOPIC: Topic = Topic {
    name: "happenings",
    key: "what it happened to",
    partitions: 3,
    groups: &["g", "h"],
};

pub(crate) const KIND: &str = "test.happened.v1";

/// Fails a test that hangs.
pub(crate) async fn soon<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(Duration::from_mins(1), work).await.unwrap()
}

/// The `n`th event of a key.
pub(crate) fn event(key: &str, n: u32) -> Event {
    Event {
        id: Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{key}/{n}").as_bytes()),
        kind: KIND.to_owned(),
        name: "Happened".to_owned(),
        source: "/test".to_owned(),
        time: Timestamp::UNIX_EPOCH,
        key: key.to_owned(),
        context: RequestContext {
            request_id: format!("{key}-{n}"),
            traceparent: "t".to_owned(),
        },
        data: n.to_string().into(),
    }
}

/// The number of an event.
pub(crate) fn number(message: &Message) -> u32 {
    std::str::from_utf8(&message.value).unwrap().parse().unwrap()
}

/// The first `count` messages of each key, interleaved.
pub(crate) fn messages(keys: &[&str], count: u32) -> Vec<Message> {
    (0..count)
        .flat_map(|n| keys.iter().map(move |key| event(key, n).to_message()))
        .collect()
}

/// Reads until `enough` holds.
pub(crate) async fn read_until(
    subscription: &mut dyn Subscription,
    mut enough: impl FnMut(&[Delivery]) -> bool,
) -> Vec<Delivery> {
    let mut all = Vec::new();
    soon(async {
        while !enough(&all) {
            all.extend(subscription.next().await.unwrap());
        }
    })
    .await;
    all
}

/// Reads exactly so many messages.
pub(crate) async fn read(subscription: &mut dyn Subscription, count: usize) -> Vec<Delivery> {
    let all = read_until(subscription, |all| all.len() >= count).await;
    assert_eq!(all.len(), count);
    all
}

/// The last position of each partition.
pub(crate) fn last(deliveries: &[Delivery]) -> Vec<Position> {
    let mut last = BTreeMap::new();
    for Delivery { position, .. } in deliveries {
        last.insert(position.partition, *position);
    }
    last.into_values().collect()
}

/// Joins group `g`, notes and commits all deliveries, and never returns.
pub(crate) async fn join_group<const N: usize>(bus: &dyn EventBus, notes: [&watch::Sender<Vec<Delivery>>; N]) {
    let mut subscription = bus.subscribe("g", TOPIC).await.unwrap();
    loop {
        let deliveries = subscription.next().await.unwrap();
        for note in notes {
            note.send_modify(|all| all.extend_from_slice(&deliveries));
        }
        subscription.commit(&last(&deliveries)).await.unwrap();
    }
}

/// The numbers of each key's events, in the order of delivery.
pub(crate) fn by_key(deliveries: &[Delivery]) -> BTreeMap<String, Vec<u32>> {
    let mut keys: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for Delivery { message, .. } in deliveries {
        keys.entry(message.key.clone()).or_default().push(number(message));
    }
    keys
}

/// The deliveries without repetitions, as a consumer with an inbox sees them.
pub(crate) fn first_times(deliveries: &[Delivery]) -> Vec<Delivery> {
    let mut seen = HashSet::new();
    let first = |delivery: &&Delivery| seen.insert(delivery.message.header("ce_id").unwrap().to_owned());
    deliveries.iter().filter(first).cloned().collect()
}

/// The expected result of `by_key` for so many events of each key.
pub(crate) fn in_order(keys: &[&str], count: u32) -> BTreeMap<String, Vec<u32>> {
    keys.iter()
        .map(|key| ((*key).to_owned(), (0..count).collect()))
        .collect()
}

/// A fault of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PublishFault {
    /// Fails without writing.
    NotWritten,
    /// Writes all messages, and fails.
    AnswerLost,
}

/// A bus with planned faults of its next publications.
pub(crate) struct FlakyBus {
    pub(crate) inner: Arc<dyn EventBus>,
    plan: Mutex<VecDeque<Option<PublishFault>>>,
    /// Publications to this topic fail.
    pub(crate) broken: Mutex<Option<&'static str>>,
    /// Publications to this topic hang until it is another one.
    pub(crate) blocked: watch::Sender<Option<&'static str>>,
    /// The topic of each publication, in the order in which they began.
    pub(crate) publications: Mutex<Vec<String>>,
}

impl FlakyBus {
    pub(crate) fn new(inner: Arc<dyn EventBus>, plan: impl IntoIterator<Item = Option<PublishFault>>) -> Self {
        Self {
            inner,
            plan: Mutex::new(plan.into_iter().collect()),
            broken: Mutex::default(),
            blocked: watch::Sender::default(),
            publications: Mutex::default(),
        }
    }

    /// Whether all planned faults have happened.
    pub(crate) fn is_done(&self) -> bool {
        self.plan.lock().unwrap().is_empty()
    }
}

#[async_trait]
impl EventBus for FlakyBus {
    async fn ensure_topic(&self, topic: &str, partitions: u32) -> Result<(), BusError> {
        self.inner.ensure_topic(topic, partitions).await
    }

    async fn publish(&self, topic: &str, messages: Vec<Message>) -> Result<(), BusError> {
        self.publications.lock().unwrap().push(topic.to_owned());
        let mut blocked = self.blocked.subscribe();
        blocked.wait_for(|blocked| *blocked != Some(topic)).await.unwrap();
        if *self.broken.lock().unwrap() == Some(topic) {
            return Err(BusError::new("this topic is broken"));
        }
        let planned = self.plan.lock().unwrap().pop_front().flatten();
        match planned {
            None => self.inner.publish(topic, messages).await,
            Some(PublishFault::NotWritten) => Err(BusError::new("the broker is away")),
            Some(PublishFault::AnswerLost) => {
                self.inner.publish(topic, messages).await?;
                Err(BusError::new("the broker's answer was lost"))
            }
        }
    }

    async fn subscribe(&self, group: &str, topic: Topic) -> Result<Box<dyn Subscription>, BusError> {
        self.inner.subscribe(group, topic).await
    }

    async fn read_all(&self, topic: &str) -> Result<Vec<Delivery>, BusError> {
        self.inner.read_all(topic).await
    }

    fn stalled(&self) -> &StalledGroups {
        self.inner.stalled()
    }

    fn signatures(&self) -> &Signatures {
        self.inner.signatures()
    }

    async fn is_up(&self) -> bool {
        self.inner.is_up().await
    }
}

#[async_trait]
impl Erase for FlakyBus {
    async fn erase(&self, topic: &str, groups: &[LetterPosition], keys: &[String]) -> Result<EraseOutcome, BusError> {
        self.inner.erase(topic, groups, keys).await
    }
}

#[async_trait]
impl Retain for FlakyBus {
    fn retention(&self) -> Duration {
        self.inner.retention()
    }

    async fn trim(&self, topic: Topic, before: Timestamp) -> Result<u64, BusError> {
        self.inner.trim(topic, before).await
    }

    async fn has_before(&self, topic: Topic, before: Timestamp) -> Result<bool, BusError> {
        self.inner.has_before(topic, before).await
    }
}

type Plan = Box<dyn Fn(&Event, u32) -> Result<(), HandlerError> + Send + Sync>;

/// A handler that records what it applies, and fails as planned.
pub(crate) struct Recorder {
    plan: Plan,
    attempts: Mutex<BTreeMap<Uuid, u32>>,
    applied: watch::Sender<Vec<(String, u32)>>,
}

impl Recorder {
    /// `plan` decides the result of each attempt at an event. Attempts count from 1.
    pub(crate) fn new(plan: impl Fn(&Event, u32) -> Result<(), HandlerError> + Send + Sync + 'static) -> Arc<Self> {
        let (attempts, applied) = (Mutex::default(), watch::Sender::default());
        Arc::new(Self {
            plan: Box::new(plan),
            attempts,
            applied,
        })
    }

    /// Waits until so many events were applied.
    pub(crate) async fn applied(&self, count: usize) -> Vec<(String, u32)> {
        let mut applied = self.applied.subscribe();
        soon(applied.wait_for(|applied| applied.len() >= count))
            .await
            .unwrap()
            .clone()
    }

    /// The numbers of each key's events, in the order in which they were applied.
    pub(crate) fn by_key(&self) -> BTreeMap<String, Vec<u32>> {
        let mut keys: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for (key, n) in self.applied.borrow().iter() {
            keys.entry(key.clone()).or_default().push(*n);
        }
        keys
    }
}

#[async_trait]
impl Handler for Recorder {
    fn kinds(&self) -> &'static [&'static str] {
        &[KIND]
    }

    async fn handle(&self, event: &Event) -> Result<(), HandlerError> {
        let attempt = {
            let mut attempts = self.attempts.lock().unwrap();
            let attempt = attempts.entry(event.id).or_default();
            *attempt += 1;
            *attempt
        };
        (self.plan)(event, attempt)?;
        let n = number(&event.to_message());
        self.applied.send_modify(|applied| applied.push((event.key.clone(), n)));
        Ok(())
    }
}

/// Runs a member of a group until its tasks are stopped.
pub(crate) fn consume(group: &'static str, bus: &Arc<dyn EventBus>, handler: Arc<dyn Handler>) -> Tasks {
    let (clock, points) = (Clock::from_fn(|| Timestamp::UNIX_EPOCH), Points::none());
    let consumer = Consumer {
        group,
        topic: TOPIC,
        bus: bus.clone(),
        handler,
        clock,
        points,
    };
    let tasks = Tasks::new();
    tasks.spawn(consumer.run(tasks.clone()));
    tasks
}

pub(crate) async fn stop(tasks: Tasks) {
    assert!(tasks.stop(Duration::from_secs(10)).await);
}

/// The letters of a group, once none of them has this origin.
pub(crate) async fn parked_elsewhere(bus: &Arc<dyn EventBus>, group: &str, origin: &str) -> Vec<Parked> {
    soon(async {
        loop {
            let letters = parked(bus, group, 1).await;
            if letters.iter().all(|letter| letter.origin != origin) {
                return letters;
            }
        }
    })
    .await
}

/// The letters of a group, once there are so many.
pub(crate) async fn parked(bus: &Arc<dyn EventBus>, group: &str, count: usize) -> Vec<Parked> {
    let letters = DeadLetters::new(bus.clone());
    soon(async {
        loop {
            let parked = letters.list(TOPIC.name, group).await.unwrap();
            if parked.len() >= count {
                return parked;
            }
        }
    })
    .await
}
