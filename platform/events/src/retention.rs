//! Removes old events from topics.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use runtime::{Clock, Tasks, Topic, telemetry::chain};

use crate::EventBus;

const TRIM_INTERVAL: Duration = Duration::from_hours(1);

/// The time that is `age` ago.
pub(crate) fn cutoff(clock: &Clock, age: Duration) -> Timestamp {
    let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
    clock.now().checked_sub(age).unwrap_or(Timestamp::MIN)
}

/// Trims these topics at start and then every hour, until the tasks are stopping.
pub(crate) async fn trim_periodically(bus: &dyn EventBus, topics: &[Topic], clock: &Clock, tasks: &Tasks) {
    loop {
        for topic in topics {
            tokio::select! {
                () = trim(bus, *topic, clock) => {}
                () = tasks.stopping() => return,
            }
        }
        if !tasks.sleep(TRIM_INTERVAL).await {
            return;
        }
    }
}

async fn trim(bus: &dyn EventBus, topic: Topic, clock: &Clock) {
    let before = cutoff(clock, bus.retention());
    loop {
        match bus.trim(topic, before).await {
            Ok(0) => return,
            Ok(events) => tracing::debug!(topic = topic.name, events, "removed old events"),
            Err(error) => {
                tracing::warn!(
                    topic = topic.name,
                    error = chain(&error),
                    "old events could not be removed"
                );
                return;
            }
        }
    }
}
