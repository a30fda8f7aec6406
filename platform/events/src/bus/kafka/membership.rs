//! The callbacks of librdkafka while a member polls: partitions are assigned and revoked.

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
    /// The revoked partitions that [`Self::take_revoked`] has not returned yet.
    revoked: Mutex<Vec<u32>>,
    rebalances: AtomicU64,
}

impl Membership {
    pub(super) fn new(log: Log) -> Self {
        Self {
            log,
            revoked: Mutex::default(),
            rebalances: AtomicU64::new(0),
        }
    }

    /// The number of assignments and revocations so far.
    pub(super) fn rebalances(&self) -> u64 {
        self.rebalances.load(Ordering::Relaxed)
    }

    /// The partitions that were revoked since the last call.
    pub(super) fn take_revoked(&self) -> Vec<u32> {
        std::mem::take(&mut self.revoked.lock().unwrap_or_else(PoisonError::into_inner))
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
        self.rebalances.fetch_add(1, Ordering::Relaxed);
        match rebalance {
            Rebalance::Assign(list) => tracing::debug!(partitions = ?partitions(list), "partitions were assigned"),
            Rebalance::Revoke(list) => {
                let partitions = partitions(list);
                tracing::debug!(?partitions, "partitions were revoked");
                self.revoked
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(partitions);
            }
            Rebalance::Error(error) => tracing::warn!(%error, "a rebalance failed"),
        }
    }
}

/// The partitions of a list, all of one topic.
fn partitions(list: &TopicPartitionList) -> Vec<u32> {
    let elements = list.elements();
    elements
        .iter()
        .map(|element| element.partition().unsigned_abs())
        .collect()
}
