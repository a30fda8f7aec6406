//! Removes old records that all groups have read, from the beginning of partitions.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rdkafka::{
    Offset, TopicPartitionList,
    admin::AdminClient,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
};

use super::{
    client::{Log, REQUEST_TIMEOUT, Settings},
    reader::Reader,
    topics,
};
use crate::BusError;

const RETRY_DELAY: Duration = Duration::from_millis(100);

/// A range of records at the beginning of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OffsetRange {
    pub(super) partition: i32,
    /// The offset of the first record, and the offset after the last one.
    pub(super) first: i64,
    pub(super) end: i64,
}

/// Retries a request, up to `REQUEST_TIMEOUT`, while leader or coordinator are not available. Blocks.
pub(super) fn retry_transient<T>(ask: impl Fn() -> KafkaResult<T>) -> KafkaResult<T> {
    use RDKafkaErrorCode::{
        CoordinatorLoadInProgress, CoordinatorNotAvailable, LeaderNotAvailable, NotCoordinator, NotLeaderForPartition,
    };
    let transient = [
        CoordinatorLoadInProgress,
        CoordinatorNotAvailable,
        LeaderNotAvailable,
        NotCoordinator,
        NotLeaderForPartition,
    ];
    let since = Instant::now();
    loop {
        let answer = ask();
        let code = answer.as_ref().err().and_then(KafkaError::rdkafka_error_code);
        if since.elapsed() > REQUEST_TIMEOUT || !code.is_some_and(|code| transient.contains(&code)) {
            return answer;
        }
        thread::sleep(RETRY_DELAY);
    }
}

/// The records that were published before a time and that all groups have read. Blocks.
pub(super) fn removable(
    settings: &Settings,
    topic: &str,
    groups: &[String],
    before: Timestamp,
) -> Result<Vec<OffsetRange>, BusError> {
    let mut old = Reader::new(settings, topic)?.before(before)?;
    if old.is_empty() || groups.is_empty() {
        return Ok(Vec::new());
    }
    for group in groups {
        let read = committed(settings, topic, group, &old)?;
        for head in &mut old {
            head.end = head.end.min(read.get(&head.partition).copied().unwrap_or(head.first));
        }
    }
    old.retain(|head| head.first < head.end);
    Ok(old)
}

/// The committed offsets of a group, without partitions of which it has read nothing. Does not join the group.
fn committed(
    settings: &Settings,
    topic: &str,
    group: &str,
    of: &[OffsetRange],
) -> Result<BTreeMap<i32, i64>, BusError> {
    let consumer: BaseConsumer<Log> = settings.consumer(group).create_with_context(settings.log().clone())?;
    let mut partitions = TopicPartitionList::new();
    for head in of {
        partitions.add_partition(topic, head.partition);
    }
    let mut read = BTreeMap::new();
    let committed = retry_transient(|| consumer.committed_offsets(partitions.clone(), REQUEST_TIMEOUT))?;
    for element in committed.elements() {
        element.error()?;
        if let Offset::Offset(offset) = element.offset() {
            read.insert(element.partition(), offset);
        }
    }
    Ok(read)
}

/// Removes these records; returns how many.
pub(super) async fn remove(client: &AdminClient<Log>, topic: &str, heads: &[OffsetRange]) -> Result<u64, BusError> {
    if heads.is_empty() {
        return Ok(0);
    }
    let mut offsets = TopicPartitionList::new();
    for head in heads {
        offsets.add_partition_offset(topic, head.partition, Offset::Offset(head.end))?;
    }
    for element in client.delete_records(&offsets, &topics::options()).await?.elements() {
        element.error()?;
    }
    Ok(heads.iter().map(|head| head.end.abs_diff(head.first)).sum())
}
