//! What is old goes from the beginning of partitions once all groups have read it.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
};

use super::{
    client::{Log, Settings},
    closing::Closing,
    reader::{ASK_LIMIT, Reader},
};
use crate::BusError;

const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Records at the beginning of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) partition: i32,
    /// The offset of the first of them, and the one behind the last.
    pub(super) first: i64,
    pub(super) end: i64,
}

/// Asks again, for some time, while a broker says that another one knows, or will know soon. Blocks.
pub(super) fn patiently<T>(ask: impl Fn() -> KafkaResult<T>) -> KafkaResult<T> {
    use RDKafkaErrorCode::{
        CoordinatorLoadInProgress, CoordinatorNotAvailable, LeaderNotAvailable, NotCoordinator, NotLeaderForPartition,
    };
    let passes = [
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
        if since.elapsed() > ASK_LIMIT || !code.is_some_and(|code| passes.contains(&code)) {
            return answer;
        }
        thread::sleep(ASK_AGAIN);
    }
}

/// What was published before a time and is done with for all groups. Blocks.
pub(super) fn read_by_all(
    settings: &Settings,
    topic: &str,
    groups: &[String],
    before: Timestamp,
) -> Result<Vec<Head>, BusError> {
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

/// Up to where a group has read each of these partitions; one of which it has read nothing is missing. Nobody joins the group
/// for that.
fn committed(settings: &Settings, topic: &str, group: &str, of: &[Head]) -> Result<BTreeMap<i32, i64>, BusError> {
    let consumer: BaseConsumer<Log> = settings.consumer(group).create_with_context(settings.log().clone())?;
    let mut partitions = TopicPartitionList::new();
    for head in of {
        partitions.add_partition(topic, head.partition);
    }
    let mut read = BTreeMap::new();
    let committed = patiently(|| consumer.committed_offsets(partitions.clone(), ASK_LIMIT))?;
    for element in committed.elements() {
        element.error()?;
        if let Offset::Offset(offset) = element.offset() {
            read.insert(element.partition(), offset);
        }
    }
    Ok(read)
}

/// Removes these records; returns how many those are.
pub(super) async fn remove(client: &Closing<AdminClient<Log>>, topic: &str, heads: &[Head]) -> Result<u64, BusError> {
    if heads.is_empty() {
        return Ok(0);
    }
    let mut offsets = TopicPartitionList::new();
    for head in heads {
        offsets.add_partition_offset(topic, head.partition, Offset::Offset(head.end))?;
    }
    let options = AdminOptions::new()
        .request_timeout(Some(ASK_LIMIT))
        .operation_timeout(Some(ASK_LIMIT));
    for element in client.delete_records(&offsets, &options).await?.elements() {
        element.error()?;
    }
    Ok(heads.iter().map(|head| head.end.abs_diff(head.first)).sum())
}
