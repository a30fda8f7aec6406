//! Reading a topic from its beginning to where it ends now, in no group.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    metadata::MetadataPartition,
};

use super::{
    client::{Log, Settings},
    is_missing_topic,
    record::delivery,
};
use crate::{BusError, Delivery};

/// How long a question to the broker may take.
const ASK_LIMIT: Duration = Duration::from_secs(8);
/// How long the next message may take, as long as there is one.
const IDLE_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

/// All that is on a topic, partition by partition in order; nothing for a topic that is not there. Blocks.
pub(super) fn read_all(settings: &Settings, topic: &str) -> Result<Vec<Delivery>, BusError> {
    // librdkafka wants a group for whatever it consumes. Nobody joins this one, and nothing is committed in it.
    let mut config = settings.consumer(&format!("{topic}.reader"));
    let consumer: BaseConsumer<Log> = config
        .set("enable.partition.eof", "true")
        .create_with_context(settings.log().clone())?;
    let fails = |error: KafkaError| BusError::new(format!("topic {topic}: {}", settings.log().because(&error)));
    let mut ends = BTreeMap::new();
    let mut offsets = TopicPartitionList::new();
    for partition in partitions(&consumer, topic)? {
        let (low, high) = consumer.fetch_watermarks(topic, partition, ASK_LIMIT).map_err(fails)?;
        if low < high {
            ends.insert(partition.unsigned_abs(), high.unsigned_abs());
            offsets.add_partition_offset(topic, partition, Offset::Offset(low))?;
        }
    }
    if ends.is_empty() {
        return Ok(Vec::new());
    }
    consumer.assign(&offsets)?;
    let mut all = collect(&consumer, topic, ends)?;
    all.sort_by_key(|delivery| delivery.position);
    Ok(all)
}

fn partitions(consumer: &BaseConsumer<Log>, topic: &str) -> Result<Vec<i32>, BusError> {
    let metadata = consumer.fetch_metadata(Some(topic), ASK_LIMIT)?;
    let Some(found) = metadata.topics().first() else {
        return Ok(Vec::new());
    };
    match found.error().map(RDKafkaErrorCode::from) {
        None => Ok(found.partitions().iter().map(MetadataPartition::id).collect()),
        Some(error) if is_missing_topic(&KafkaError::MetadataFetch(error)) => Ok(Vec::new()),
        Some(error) => Err(BusError::new(format!("topic {topic}: {error}"))),
    }
}

/// Reads up to these offsets, without them.
fn collect(consumer: &BaseConsumer<Log>, topic: &str, mut ends: BTreeMap<u32, u64>) -> Result<Vec<Delivery>, BusError> {
    let mut all = Vec::new();
    let mut last = Instant::now();
    while !ends.is_empty() {
        let Some(polled) = consumer.poll(POLL) else {
            if last.elapsed() > IDLE_LIMIT {
                return Err(BusError::new(format!("topic {topic} cannot be read to its end")));
            }
            continue;
        };
        match polled {
            Ok(record) => {
                last = Instant::now();
                let delivery = delivery(&record);
                let partition = delivery.position.partition;
                let end = ends.get(&partition).copied().unwrap_or_default();
                if delivery.position.offset + 1 >= end {
                    ends.remove(&partition);
                }
                if delivery.position.offset < end {
                    all.push(delivery);
                }
            }
            // The last offsets need not be those of messages: markers of transactions have some, too.
            Err(KafkaError::PartitionEOF(partition)) => {
                ends.remove(&partition.unsigned_abs());
            }
            // The log has it, and either it passes or nothing more comes.
            Err(KafkaError::MessageConsumption(error)) if !is_missing_topic(&KafkaError::Global(error)) => {}
            Err(error) => return Err(BusError::new(format!("topic {topic}: {error}"))),
        }
    }
    Ok(all)
}
