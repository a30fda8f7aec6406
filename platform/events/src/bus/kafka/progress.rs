//! The offsets and the lag of a member in its partitions. All calls block.

use std::collections::BTreeMap;

use rdkafka::{Offset, TopicPartitionList, consumer::Consumer};

use super::{client::REQUEST_TIMEOUT, subscription::GroupMember};
use crate::BusError;

/// A partition that is assigned to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) partition: u32,
    /// The offset of the next record for the member.
    pub(super) next: u64,
    /// The offset after the last record.
    pub(super) end: u64,
}

impl Progress {
    pub(super) const fn is_lagging(&self) -> bool {
        self.next < self.end
    }
}

/// The progress in all partitions of a member. `known`: the next offsets, where the member has received records.
pub(super) fn of(member: &GroupMember, topic: &str, known: &BTreeMap<u32, u64>) -> Result<Vec<Progress>, BusError> {
    let mut held = TopicPartitionList::new();
    for element in member.assignment()?.elements() {
        held.add_partition(topic, element.partition());
    }
    if held.count() == 0 {
        return Ok(Vec::new());
    }
    let committed = member.committed_offsets(held, REQUEST_TIMEOUT)?;
    let mut all = Vec::new();
    for element in committed.elements() {
        let (first, end) = member.fetch_watermarks(topic, element.partition(), REQUEST_TIMEOUT)?;
        let partition = element.partition().unsigned_abs();
        // A new group has no committed offset, and starts at the beginning.
        let committed = if let Offset::Offset(offset) = element.offset() {
            offset.unsigned_abs()
        } else {
            0
        };
        let next = known.get(&partition).copied().unwrap_or(committed);
        all.push(Progress {
            partition,
            // Records before `first` were removed.
            next: next.max(first.unsigned_abs()),
            end: end.unsigned_abs(),
        });
    }
    Ok(all)
}

/// Moves a member to this offset.
pub(super) fn seek(member: &GroupMember, topic: &str, partition: u32, offset: u64) -> Result<(), BusError> {
    let number = i32::try_from(partition).map_err(BusError::new)?;
    let offset = Offset::Offset(i64::try_from(offset).map_err(BusError::new)?);
    let mut position = TopicPartitionList::new();
    position.add_partition_offset(topic, number, offset)?;
    for element in member.seek_partitions(position, REQUEST_TIMEOUT)?.elements() {
        element.error()?;
    }
    Ok(())
}
