//! Reads partitions without a group, record by record, and skips records that cannot be read.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    metadata::MetadataPartition,
};

use super::{
    client::{Log, REQUEST_TIMEOUT, Settings},
    is_missing_topic,
    record::{delivery, record_error, unreadable},
    retention::{OffsetRange, retry_transient},
};
use crate::{BusError, Delivery};

/// The timeout of the next record before the end of a partition.
const RECORD_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

/// Reads one partition at a time, because errors of librdkafka do not name the partition.
pub(super) struct Reader<'a> {
    consumer: BaseConsumer<Log>,
    log: &'a Log,
    topic: &'a str,
}

/// The position of a reader in a partition.
struct Cursor {
    partition: u32,
    /// The next offset to read.
    next: u64,
    /// Whether librdkafka reads at `next`. After an unreadable record it must be assigned again.
    is_assigned: bool,
}

/// The result of reading one record.
#[derive(Debug)]
pub(super) enum ReadOutcome {
    Record(Delivery),
    /// The placeholder for an unreadable record.
    Unreadable(Delivery),
    End,
}

impl<'a> Reader<'a> {
    pub(super) fn new(settings: &'a Settings, topic: &'a str) -> Result<Self, BusError> {
        // librdkafka requires a group id. Nobody joins this group, and nothing is committed to it.
        let mut config = settings.consumer(&format!("{topic}.reader"));
        let consumer = config
            .set("enable.partition.eof", "true")
            // The default (500 ms) would delay the fetch of the record after an unreadable one, too.
            .set("fetch.error.backoff.ms", "50")
            .create_with_context(settings.log().clone())?;
        let log = settings.log();
        Ok(Self { consumer, log, topic })
    }

    /// Reads from an offset up to and including the first readable record, or `limit` unreadable ones. Blocks.
    pub(super) fn read(&self, partition: u32, offset: u64, limit: usize) -> Result<Vec<ReadOutcome>, BusError> {
        let mut cursor = Cursor {
            partition,
            next: offset,
            is_assigned: false,
        };
        let mut outcomes = Vec::new();
        while outcomes.len() < limit {
            let next = self.read_next(&mut cursor)?;
            let is_unreadable = matches!(next, ReadOutcome::Unreadable(_));
            outcomes.push(next);
            if !is_unreadable {
                break;
            }
        }
        Ok(outcomes)
    }

    fn read_next(&self, cursor: &mut Cursor) -> Result<ReadOutcome, BusError> {
        if !cursor.is_assigned {
            let offset = Offset::Offset(i64::try_from(cursor.next).map_err(BusError::new)?);
            let partition = i32::try_from(cursor.partition).map_err(BusError::new)?;
            let mut only = TopicPartitionList::new();
            only.add_partition_offset(self.topic, partition, offset)?;
            self.consumer.assign(&only)?;
            cursor.is_assigned = true;
        }
        let since = Instant::now();
        while since.elapsed() < RECORD_TIMEOUT {
            match self.consumer.poll(POLL) {
                None => {}
                Some(Ok(record)) => {
                    let delivery = delivery(&record);
                    cursor.next = delivery.position.offset + 1;
                    return Ok(ReadOutcome::Record(delivery));
                }
                // Comes also while `next` is smaller than the end: the last offsets may be markers of transactions.
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(ReadOutcome::End),
                Some(Err(error)) => {
                    if let Some(code) = record_error(&error) {
                        return Ok(skip(cursor, code));
                    }
                    self.check_error(&error)?;
                }
            }
        }
        Err(BusError::new(format!("topic {} cannot be read to its end", self.topic)))
    }

    /// Fails if the topic is missing, or if reading did not cause the error. librdkafka recovers from other errors;
    /// if it does not, `RECORD_TIMEOUT` ends the read.
    fn check_error(&self, error: &KafkaError) -> Result<(), BusError> {
        if let KafkaError::MessageConsumption(code) = error
            && !is_missing_topic(&KafkaError::Global(*code))
        {
            return Ok(());
        }
        Err(self.bus_error(error))
    }

    fn bus_error(&self, error: &KafkaError) -> BusError {
        BusError::new(format!("topic {}: {}", self.topic, self.log.with_last_error(error)))
    }

    fn partitions(&self) -> Result<Vec<i32>, BusError> {
        let metadata = self.consumer.fetch_metadata(Some(self.topic), REQUEST_TIMEOUT)?;
        let Some(found) = metadata.topics().first() else {
            return Ok(Vec::new());
        };
        match found.error().map(RDKafkaErrorCode::from) {
            None => Ok(found.partitions().iter().map(MetadataPartition::id).collect()),
            Some(error) if is_missing_topic(&KafkaError::MetadataFetch(error)) => Ok(Vec::new()),
            Some(error) => Err(BusError::new(format!("topic {}: {error}", self.topic))),
        }
    }

    /// The records of each partition that were published before a time.
    pub(super) fn before(&self, time: Timestamp) -> Result<Vec<OffsetRange>, BusError> {
        let (mut heads, mut times) = (Vec::new(), TopicPartitionList::new());
        for partition in self.partitions()? {
            let marks = retry_transient(|| self.consumer.fetch_watermarks(self.topic, partition, REQUEST_TIMEOUT));
            let (first, end) = marks.map_err(|error| self.bus_error(&error))?;
            heads.push(OffsetRange { partition, first, end });
            let time = Offset::Offset(time.as_millisecond().max(0));
            times.add_partition_offset(self.topic, partition, time)?;
        }
        if heads.is_empty() {
            return Ok(heads);
        }
        let first_kept = retry_transient(|| self.consumer.offsets_for_times(times.clone(), REQUEST_TIMEOUT));
        for element in first_kept.map_err(|error| self.bus_error(&error))?.elements() {
            element.error()?;
            let ranges = heads.iter_mut().filter(|head| head.partition == element.partition());
            // The offset of the first record that is not older; `Offset::End` if all records are older.
            if let Offset::Offset(first_kept) = element.offset() {
                ranges.for_each(|head| head.end = head.end.min(first_kept));
            } else if element.offset() != Offset::End {
                return Err(BusError::new(format!(
                    "topic {}: the broker does not say which records are old",
                    self.topic
                )));
            }
        }
        heads.retain(|head| head.first < head.end);
        Ok(heads)
    }

    /// Reads a partition up to its current end.
    fn read_partition(&self, partition: i32, all: &mut Vec<Delivery>) -> Result<(), BusError> {
        let marks = self.consumer.fetch_watermarks(self.topic, partition, REQUEST_TIMEOUT);
        let (low, high) = marks.map_err(|error| self.bus_error(&error))?;
        let end = high.unsigned_abs();
        let mut cursor = Cursor {
            partition: partition.unsigned_abs(),
            next: low.unsigned_abs(),
            is_assigned: false,
        };
        while cursor.next < end {
            match self.read_next(&mut cursor)? {
                ReadOutcome::Record(delivery) | ReadOutcome::Unreadable(delivery) => {
                    if delivery.position.offset < end {
                        all.push(delivery);
                    }
                }
                ReadOutcome::End => break,
            }
        }
        Ok(())
    }
}

/// Skips one offset. An unreadable batch of several records fails again at each of its offsets; skipping the batch at
/// once could lose the records after it.
fn skip(cursor: &mut Cursor, code: RDKafkaErrorCode) -> ReadOutcome {
    let placeholder = unreadable(cursor.partition, cursor.next, code);
    cursor.next += 1;
    cursor.is_assigned = false;
    ReadOutcome::Unreadable(placeholder)
}

/// All records of a topic, ordered by partition and offset; none for a missing topic. Blocks.
pub(super) fn read_all(settings: &Settings, topic: &str) -> Result<Vec<Delivery>, BusError> {
    let reader = Reader::new(settings, topic)?;
    let mut partitions = reader.partitions()?;
    partitions.sort_unstable();
    let mut all = Vec::new();
    for partition in partitions {
        reader.read_partition(partition, &mut all)?;
    }
    Ok(all)
}
