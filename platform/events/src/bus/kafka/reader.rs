//! Reading partitions in no group, record by record, past those that cannot be read.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    metadata::MetadataPartition,
};

use super::{
    client::{Log, Settings},
    is_missing_topic,
    record::{defect, delivery, unreadable},
    retention::{Head, patiently},
};
use crate::{BusError, Delivery};

/// How long a question to the broker may take.
pub(super) const ASK_LIMIT: Duration = Duration::from_secs(8);
/// How long the next message may take, as long as there is one.
const IDLE_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

/// Reads one partition at a time: an error that librdkafka gives to a consumer names none.
pub(super) struct Reader<'a> {
    consumer: BaseConsumer<Log>,
    log: &'a Log,
    topic: &'a str,
}

/// Where a reader is in a partition.
struct Place {
    partition: u32,
    /// The offset from which on nothing was read yet.
    next: u64,
    /// Whether librdkafka reads from there on. Behind a record that cannot be read it has to be told to.
    is_going: bool,
}

/// What comes next in a partition.
#[derive(Debug)]
pub(super) enum Found {
    Record(Delivery),
    /// A record that nobody can read, as it is to be delivered.
    Unreadable(Delivery),
    End,
}

impl<'a> Reader<'a> {
    pub(super) fn new(settings: &'a Settings, topic: &'a str) -> Result<Self, BusError> {
        // librdkafka wants a group for whatever it consumes. Nobody joins this one, and nothing is committed in it.
        let mut config = settings.consumer(&format!("{topic}.reader"));
        let consumer = config
            .set("enable.partition.eof", "true")
            // The one who waits for what comes behind an unreadable record is in no hurry for the same one again.
            .set("fetch.error.backoff.ms", "50")
            .create_with_context(settings.log().clone())?;
        let log = settings.log();
        Ok(Self { consumer, log, topic })
    }

    /// What stands at an offset, or behind it where there is nothing at it; past what cannot be read, but for at most so many
    /// records. Blocks.
    pub(super) fn look(&self, partition: u32, offset: u64, at_most: usize) -> Result<Vec<Found>, BusError> {
        let mut place = Place {
            partition,
            next: offset,
            is_going: false,
        };
        let mut found = Vec::new();
        while found.len() < at_most {
            let next = self.step(&mut place)?;
            let is_unreadable = matches!(next, Found::Unreadable(_));
            found.push(next);
            if !is_unreadable {
                break;
            }
        }
        Ok(found)
    }

    fn step(&self, place: &mut Place) -> Result<Found, BusError> {
        if !place.is_going {
            let offset = Offset::Offset(i64::try_from(place.next).map_err(BusError::new)?);
            let partition = i32::try_from(place.partition).map_err(BusError::new)?;
            let mut only = TopicPartitionList::new();
            only.add_partition_offset(self.topic, partition, offset)?;
            self.consumer.assign(&only)?;
            place.is_going = true;
        }
        let since = Instant::now();
        while since.elapsed() < IDLE_LIMIT {
            match self.consumer.poll(POLL) {
                None => {}
                Some(Ok(record)) => {
                    let delivery = delivery(&record);
                    place.next = delivery.position.offset + 1;
                    return Ok(Found::Record(delivery));
                }
                // The last offsets need not be those of messages: markers of transactions have some, too.
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(Found::End),
                Some(Err(error)) => {
                    if let Some(code) = defect(&error) {
                        return Ok(pass(place, code));
                    }
                    self.judge(&error)?;
                }
            }
        }
        Err(BusError::new(format!("topic {} cannot be read to its end", self.topic)))
    }

    /// The log has it, and either it passes or nothing more comes.
    fn judge(&self, error: &KafkaError) -> Result<(), BusError> {
        if let KafkaError::MessageConsumption(code) = error
            && !is_missing_topic(&KafkaError::Global(*code))
        {
            return Ok(());
        }
        Err(self.fails(error))
    }

    fn fails(&self, error: &KafkaError) -> BusError {
        BusError::new(format!("topic {}: {}", self.topic, self.log.because(error)))
    }

    fn partitions(&self) -> Result<Vec<i32>, BusError> {
        let metadata = self.consumer.fetch_metadata(Some(self.topic), ASK_LIMIT)?;
        let Some(found) = metadata.topics().first() else {
            return Ok(Vec::new());
        };
        match found.error().map(RDKafkaErrorCode::from) {
            None => Ok(found.partitions().iter().map(MetadataPartition::id).collect()),
            Some(error) if is_missing_topic(&KafkaError::MetadataFetch(error)) => Ok(Vec::new()),
            Some(error) => Err(BusError::new(format!("topic {}: {error}", self.topic))),
        }
    }

    /// What was published before a time, of each partition that has something of it.
    pub(super) fn before(&self, time: Timestamp) -> Result<Vec<Head>, BusError> {
        let (mut heads, mut times) = (Vec::new(), TopicPartitionList::new());
        for partition in self.partitions()? {
            let marks = patiently(|| self.consumer.fetch_watermarks(self.topic, partition, ASK_LIMIT));
            let (first, end) = marks.map_err(|error| self.fails(&error))?;
            heads.push(Head { partition, first, end });
            let time = Offset::Offset(time.as_millisecond().max(0));
            times.add_partition_offset(self.topic, partition, time)?;
        }
        if heads.is_empty() {
            return Ok(heads);
        }
        let since = patiently(|| self.consumer.offsets_for_times(times.clone(), ASK_LIMIT));
        for element in since.map_err(|error| self.fails(&error))?.elements() {
            element.error()?;
            let of_it = heads.iter_mut().filter(|head| head.partition == element.partition());
            if let Offset::Offset(since) = element.offset() {
                of_it.for_each(|head| head.end = head.end.min(since));
            } else if element.offset() != Offset::End {
                // At the end all of the partition is older.
                return Err(BusError::new(format!("topic {}: what is old is not known", self.topic)));
            }
        }
        heads.retain(|head| head.first < head.end);
        Ok(heads)
    }

    /// All of a partition up to where it ends now.
    fn partition(&self, partition: i32, all: &mut Vec<Delivery>) -> Result<(), BusError> {
        let marks = self.consumer.fetch_watermarks(self.topic, partition, ASK_LIMIT);
        let (low, high) = marks.map_err(|error| self.fails(&error))?;
        let end = high.unsigned_abs();
        let mut place = Place {
            partition: partition.unsigned_abs(),
            next: low.unsigned_abs(),
            is_going: false,
        };
        while place.next < end {
            match self.step(&mut place)? {
                Found::Record(delivery) | Found::Unreadable(delivery) => {
                    if delivery.position.offset < end {
                        all.push(delivery);
                    }
                }
                Found::End => break,
            }
        }
        Ok(())
    }
}

/// A batch of many records that cannot be unpacked is that many times in the way, at each of its offsets: no record behind
/// it is passed over.
fn pass(place: &mut Place, code: RDKafkaErrorCode) -> Found {
    let found = unreadable(place.partition, place.next, code);
    place.next += 1;
    place.is_going = false;
    Found::Unreadable(found)
}

/// All that is on a topic, partition by partition in order; nothing for a topic that is not there. Blocks.
pub(super) fn read_all(settings: &Settings, topic: &str) -> Result<Vec<Delivery>, BusError> {
    let reader = Reader::new(settings, topic)?;
    let mut partitions = reader.partitions()?;
    partitions.sort_unstable();
    let mut all = Vec::new();
    for partition in partitions {
        reader.partition(partition, &mut all)?;
    }
    Ok(all)
}
