//! Consumers: apply each event once in effect, in order per key.

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
    Clock, PointKind, Points, REQUEST_ID_HEADER, Runtime, TRACEPARENT_HEADER, Tasks, is_request_id,
    telemetry::{chain, millis},
    trace_id,
};
use tracing::{Instrument, Span};
use uuid::Uuid;

use crate::{
    BusError, DeadLetters, Delivery, Event, EventBus, Message, Position, Subscription, Topic,
    kind::{self, Support},
    message::ID,
};

const BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// A group has stalled if applying one event takes longer.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Why an event was not applied.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// A dependency is unavailable: the event is retried without limit.
    #[error("cannot be applied now")]
    Transient(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The event can never be applied, for this reason: it is parked.
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

/// What became of an event that is not parked.
enum Outcome {
    /// The handler succeeded. Whether it had applied the event before is known to its inbox only.
    Handled,
    /// The handler was not called, for this reason.
    Skipped(&'static str),
}

/// Applies the events of a group. The effect and its inbox entry must share one transaction, because an event may be
/// delivered any number of times.
#[async_trait]
pub trait Handler: Send + Sync {
    /// The kinds that the group knows, with their versions. The consumer parks an event of a known name in another
    /// version, and skips events of other names.
    fn kinds(&self) -> &'static [&'static str];

    async fn handle(&self, event: &Event) -> Result<(), HandlerError>;
}

/// A member of a group: ensures its topic and its dead-letter topic, reads events, applies them, and then commits their
/// offsets. Run only one of the clones.
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

    /// Runs until the tasks are stopping. Work in progress is cancelled then, and its events are delivered again.
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
        // A member that joins before the topic exists may never get partitions.
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

    /// Applies the events of one key in order, and different keys concurrently.
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

    /// The headers are foreign text: the span has only ids that are well formed.
    fn span(&self, message: &Message) -> Span {
        tracing::error_span!(
            "event",
            group = self.group,
            event = message.header(ID).filter(|id| Uuid::try_parse(id).is_ok()),
            request_id = message
                .header(REQUEST_ID_HEADER.as_str())
                .filter(|id| is_request_id(id)),
            trace_id = message.header(TRACEPARENT_HEADER.as_str()).and_then(trace_id),
        )
    }

    async fn apply_or_park(&self, delivery: &Delivery, dead_letters: &DeadLetters) -> Result<(), BusError> {
        let (began, key) = (Instant::now(), &delivery.message.key);
        match self.apply_or_stall(delivery).await {
            Ok(Outcome::Handled) => tracing::info!(key, took_ms = millis(began.elapsed()), "handled an event"),
            Ok(Outcome::Skipped(reason)) => tracing::info!(key, reason, "skipped an event"),
            Err(reason) => {
                dead_letters
                    .park(self.topic.name, self.group, delivery, &reason, self.clock.now())
                    .await?;
                tracing::error!(key, reason, "parked an event");
            }
        }
        Ok(())
    }

    /// Applies one event, and marks the group as stalled if that takes long. The error is the reason to park the event.
    async fn apply_or_stall(&self, delivery: &Delivery) -> Result<Outcome, String> {
        let mut applied = pin!(self.apply(delivery));
        if let Ok(applied) = tokio::time::timeout(STALL_TIMEOUT, &mut applied).await {
            return applied;
        }
        self.bus.stalled().set(self.group);
        let Position { partition, offset } = delivery.position;
        let topic = self.topic.name;
        tracing::warn!(topic, partition, offset, "an event cannot be applied; still trying");
        applied.await
    }

    /// Applies one event. Retries transient errors without limit.
    async fn apply(&self, delivery: &Delivery) -> Result<Outcome, String> {
        if !DeadLetters::is_for(&delivery.message, self.group) {
            return Ok(Outcome::Skipped("it was redriven for another group"));
        }
        if let Some(why) = delivery.message.unreadable() {
            return Err(why.to_owned());
        }
        let event = Event::from_message(&delivery.message).map_err(|e| e.to_string())?;
        let signatures = self.bus.signatures();
        signatures
            .check(self.topic.name, &delivery.message)
            .map_err(|error| error.to_string())?;
        match kind::support_for(&event.kind, self.handler.kinds()) {
            Support::Supported => {}
            Support::OtherVersions(known) => {
                let (kind, known) = (&event.kind, known.join(", "));
                return Err(format!(
                    "its kind is {kind}, and this version of the group knows {known}"
                ));
            }
            Support::Unknown => return Ok(Outcome::Skipped("the group does not know its kind")),
        }
        let mut backoff = BACKOFF;
        loop {
            let handled = event.context.clone().scope(self.handler.handle(&event));
            match AssertUnwindSafe(handled).catch_unwind().await {
                Ok(Ok(())) => return Ok(Outcome::Handled),
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
        let commit = self.points.enter(PointKind::Offset, self.group);
        subscription.commit(&positions).await?;
        commit.done();
        Ok(())
    }
}
