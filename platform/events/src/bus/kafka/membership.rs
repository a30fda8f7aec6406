//! What librdkafka calls while a member polls: partitions come and go.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, ConsumerContext, Rebalance},
    error::KafkaError,
};

use super::client::Log;

/// The context of a member of a group.
pub(super) struct Membership {
    log: Log,
    /// Partitions that were given away and have not been looked at since.
    given_away: Mutex<Vec<u32>>,
    shares: AtomicU64,
}

impl Membership {
    pub(super) fn new(log: Log) -> Self {
        Self {
            log,
            given_away: Mutex::default(),
            shares: AtomicU64::new(0),
        }
    }

    /// How often it was told which partitions come and go.
    pub(super) fn shares(&self) -> u64 {
        self.shares.load(Ordering::Relaxed)
    }

    /// The partitions that were given away since the last look.
    pub(super) fn given_away(&self) -> Vec<u32> {
        std::mem::take(&mut self.given_away.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.log.log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.error(error, reason);
    }
}

impl ConsumerContext for Membership {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        self.shares.fetch_add(1, Ordering::Relaxed);
        match rebalance {
            Rebalance::Assign(list) => tracing::debug!(partitions = ?partitions(list), "was given partitions"),
            Rebalance::Revoke(list) => {
                let partitions = partitions(list);
                tracing::debug!(?partitions, "gives partitions away");
                self.given_away
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(partitions);
            }
            Rebalance::Error(error) => tracing::warn!(%error, "a rebalance failed"),
        }
    }
}

/// A member has one topic.
fn partitions(list: &TopicPartitionList) -> Vec<u32> {
    let elements = list.elements();
    elements
        .iter()
        .map(|element| element.partition().unsigned_abs())
        .collect()
}
