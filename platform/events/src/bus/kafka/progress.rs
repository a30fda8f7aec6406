//! How far a member has come in its partitions, and how far there is to go. All of it blocks.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{Offset, TopicPartitionList, consumer::Consumer};

use super::subscription::Member;
use crate::BusError;

/// How long a question to the broker may take.
const ASK_LIMIT: Duration = Duration::from_secs(8);

/// A partition that a member holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) partition: u32,
    /// The offset of the next record that the member wants.
    pub(super) next: u64,
    /// The offset behind the last record.
    pub(super) end: u64,
}

/// All partitions of a member. Of some it is known which record it wants next: `known`.
pub(super) fn of(member: &Member, topic: &str, known: &BTreeMap<u32, u64>) -> Result<Vec<Progress>, BusError> {
    let mut held = TopicPartitionList::new();
    for element in member.assignment()?.elements() {
        held.add_partition(topic, element.partition());
    }
    if held.count() == 0 {
        return Ok(Vec::new());
    }
    let committed = member.committed_offsets(held, ASK_LIMIT)?;
    let mut all = Vec::new();
    for element in committed.elements() {
        let (first, end) = member.fetch_watermarks(topic, element.partition(), ASK_LIMIT)?;
        let partition = element.partition().unsigned_abs();
        // A new group has none, and starts at the beginning.
        let committed = if let Offset::Offset(offset) = element.offset() {
            offset.unsigned_abs()
        } else {
            0
        };
        let next = known.get(&partition).copied().unwrap_or(committed);
        all.push(Progress {
            partition,
            // What was there and is kept no longer is not to be had.
            next: next.max(first.unsigned_abs()),
            end: end.unsigned_abs(),
        });
    }
    Ok(all)
}

/// Lets a member go on at this offset.
pub(super) fn go_on_at(member: &Member, topic: &str, partition: u32, offset: u64) -> Result<(), BusError> {
    let number = i32::try_from(partition).map_err(BusError::new)?;
    let offset = Offset::Offset(i64::try_from(offset).map_err(BusError::new)?);
    let mut place = TopicPartitionList::new();
    place.add_partition_offset(topic, number, offset)?;
    let sought = member.seek_partitions(place, ASK_LIMIT)?;
    for element in sought.elements() {
        element.error()?;
    }
    Ok(())
}
