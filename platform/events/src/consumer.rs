//! Consumers: apply every event once in effect, in order per key.

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures::{FutureExt, future::join_all};
use runtime::{
    Clock, Kind, Points, REQUEST_ID_HEADER, Runtime, TRACEPARENT_HEADER, Tasks,
    telemetry::{chain, millis},
    trace_id,
};
use tracing::{Instrument, Span};

use crate::{
    BusError, DeadLetters, Delivery, Event, EventBus, Message, Position, Subscription, Topic,
    kind::{self, Knowledge},
    message::ID,
};

const BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// A group has stalled when it tries for longer than this to apply one event.
const STALLED: Duration = Duration::from_secs(10);

/// Why an event was not applied.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// Something that is needed is away: the event is tried again until it comes back.
    #[error("cannot be applied now")]
    Transient(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It can never be applied, for this reason: it is parked.
    #[error("{0}")]
    Poisoned(String),
}

impl From<storage::StoreError> for HandlerError {
    fn from(error: storage::StoreError) -> Self {
        use storage::StoreError::{Conflict, Corrupt, Unavailable};
        match error {
            Conflict | Unavailable(_) => Self::Transient(error.into()),
            Corrupt(_) => Self::Poisoned(chain(&error)),
        }
    }
}

/// What a group does with an event. The effect and the note that it happened (inbox) must share one transaction: an event
/// may be delivered any number of times.
#[async_trait]
pub trait Handler: Send + Sync {
    /// The kinds that the group knows, with their versions. No event of another kind is handled: one whose name is known in
    /// another version is parked, and the others, which the group does not want, are passed over.
    fn kinds(&self) -> &'static [&'static str];

    async fn handle(&self, event: &Event) -> Result<(), HandlerError>;
}

/// A group's member: makes sure of its topic and of that of its dead letters, reads, applies, commits offsets after that. Clones are the same member: one of them runs.
#[derive(Clone)]
pub struct Consumer {
    pub group: &'static str,
    pub topic: Topic,
    pub bus: Arc<dyn EventBus>,
    pub handler: Arc<dyn Handler>,
    pub clock: Clock,
    pub points: Points,
}

impl Consumer {
    /// A member of a group of this topic, in the process that this is the runtime of.
    pub fn new(
        bus: Arc<dyn EventBus>,
        topic: Topic,
        group: &'static str,
        handler: Arc<dyn Handler>,
        runtime: &Runtime,
    ) -> Self {
        Self {
            group,
            topic,
            bus,
            handler,
            clock: runtime.clock.clone(),
            points: runtime.points.clone(),
        }
    }

    /// Runs until the tasks are stopping; then the work in hand is dropped, to be delivered again.
    pub async fn run(self, tasks: Tasks) {
        let mut backoff = BACKOFF;
        while !tasks.is_stopping() {
            let consumed = tokio::select! {
                consumed = self.consume(&mut backoff) => consumed,
                () = tasks.stopping() => return,
            };
            if let Err(error) = consumed {
                self.bus.stalled().set(self.group);
                tracing::warn!(
                    group = self.group,
                    error = chain(&error),
                    ?backoff,
                    "consumer lost the bus; trying again"
                );
                tasks.sleep(backoff).await;
                backoff = (backoff * 2).min(MAX_BACKOFF);
            }
        }
    }

    async fn consume(&self, backoff: &mut Duration) -> Result<(), BusError> {
        // A member that joins before there is a topic may sit without partitions for ever.
        self.bus.ensure_topic(self.topic.name, self.topic.partitions).await?;
        let dead_letters = DeadLetters::new(self.bus.clone());
        dead_letters.prepare(self.topic.name, self.group).await?;
        let mut subscription = self.bus.subscribe(self.group, self.topic).await?;
        loop {
            let deliveries = subscription.next().await?;
            if !deliveries.is_empty() {
                self.apply_all(&deliveries, &dead_letters).await?;
                self.commit(subscription.as_mut(), &deliveries).await?;
            }
            self.bus.stalled().clear(self.group);
            *backoff = BACKOFF;
        }
    }

    /// Applies those of one key one after the other, those of different keys side by side.
    async fn apply_all(&self, deliveries: &[Delivery], dead_letters: &DeadLetters) -> Result<(), BusError> {
        let mut keys: BTreeMap<&str, Vec<&Delivery>> = BTreeMap::new();
        for delivery in deliveries {
            keys.entry(&delivery.message.key).or_default().push(delivery);
        }
        let work = keys.into_values().map(|of_one_key| async move {
            for delivery in of_one_key {
                let span = self.span(&delivery.message);
                self.apply_or_park(delivery, dead_letters).instrument(span).await?;
            }
            Ok(())
        });
        join_all(work).await.into_iter().collect()
    }

    /// The span of all that is done with an event.
    fn span(&self, message: &Message) -> Span {
        tracing::error_span!(
            "event",
            group = self.group,
            event = message.header(ID),
            request_id = message.header(REQUEST_ID_HEADER.as_str()),
            trace_id = message.header(TRACEPARENT_HEADER.as_str()).and_then(trace_id),
        )
    }

    async fn apply_or_park(&self, delivery: &Delivery, dead_letters: &DeadLetters) -> Result<(), BusError> {
        let (began, key) = (Instant::now(), &delivery.message.key);
        if let Err(reason) = self.apply_in_time(delivery).await {
            dead_letters
                .park(self.topic.name, self.group, delivery, &reason, self.clock.now())
                .await?;
            tracing::error!(key, reason, "parked an event");
        } else {
            tracing::info!(key, took_ms = millis(began.elapsed()), "applied an event");
        }
        Ok(())
    }

    /// Applies one event, and says so when that takes long. An error is the reason to park it.
    async fn apply_in_time(&self, delivery: &Delivery) -> Result<(), String> {
        let mut applied = pin!(self.apply(delivery));
        if let Ok(applied) = tokio::time::timeout(STALLED, &mut applied).await {
            return applied;
        }
        self.bus.stalled().set(self.group);
        let Position { partition, offset } = delivery.position;
        let topic = self.topic.name;
        tracing::warn!(topic, partition, offset, "an event cannot be applied; still trying");
        applied.await
    }

    /// Applies one event, however often that takes.
    async fn apply(&self, delivery: &Delivery) -> Result<(), String> {
        if !DeadLetters::is_for(&delivery.message, self.group) {
            return Ok(());
        }
        if let Some(why) = delivery.message.unreadable() {
            return Err(why.to_owned());
        }
        let event = Event::from_message(&delivery.message).map_err(|e| e.to_string())?;
        let signatures = self.bus.signatures();
        signatures
            .check(self.topic.name, &delivery.message)
            .map_err(|unproven| unproven.to_string())?;
        match kind::look_up(&event.kind, self.handler.kinds()) {
            Knowledge::Exact => {}
            Knowledge::OtherVersions(known) => {
                let (kind, known) = (&event.kind, known.join(", "));
                return Err(format!(
                    "its kind is {kind}, and this version of the group knows {known}"
                ));
            }
            Knowledge::Unknown => return Ok(()),
        }
        let mut backoff = BACKOFF;
        loop {
            let handled = event.context.clone().scope(self.handler.handle(&event));
            match AssertUnwindSafe(handled).catch_unwind().await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(HandlerError::Poisoned(reason))) => return Err(reason),
                Err(_) => return Err("applying it panicked".to_owned()),
                Ok(Err(error @ HandlerError::Transient(_))) => {
                    tracing::warn!(error = chain(&error), "trying again");
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(MAX_BACKOFF);
                }
            }
        }
    }

    async fn commit(&self, subscription: &mut dyn Subscription, done: &[Delivery]) -> Result<(), BusError> {
        let mut last: BTreeMap<u32, u64> = BTreeMap::new();
        for Position { partition, offset } in done.iter().map(|delivery| delivery.position) {
            let highest = last.entry(partition).or_insert(offset);
            *highest = offset.max(*highest);
        }
        let positions: Vec<_> = last
            .into_iter()
            .map(|(partition, offset)| Position { partition, offset })
            .collect();
        let commit = self.points.enter(Kind::Offset, self.group);
        subscription.commit(&positions).await?;
        commit.done();
        Ok(())
    }
}
