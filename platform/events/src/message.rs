//! Messages and the partitions of their keys.

use bytes::Bytes;

/// These two headers replace unreadable ones: the reason, and the stored bytes as text.
const UNREADABLE: &str = "bus-unreadable";
const RAW_HEADERS: &str = "bus-raw-headers";
pub(crate) const ID: &str = "ce_id";

/// A message on a bus. It need not be an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Messages with the same key are delivered in the order of their publication.
    pub key: String,
    pub headers: Vec<(String, String)>,
    pub value: Bytes,
}

impl Message {
    /// A message from its stored parts. Unreadable headers do not fail: the message must reach a consumer, which parks
    /// it, or it would block the messages after it.
    pub(crate) fn from_stored(key: &[u8], headers: &[u8], value: Bytes) -> Self {
        let headers = serde_json::from_slice(headers).unwrap_or_else(|error| {
            vec![
                (UNREADABLE.to_owned(), format!("its headers cannot be read: {error}")),
                (RAW_HEADERS.to_owned(), text(headers)),
            ]
        });
        Self {
            key: text(key),
            headers,
            value,
        }
    }

    /// A placeholder for a record that could not be read.
    pub(crate) fn for_unreadable(why: String) -> Self {
        Self {
            key: String::new(),
            headers: vec![(UNREADABLE.to_owned(), why)],
            value: Bytes::new(),
        }
    }

    /// Why the bus could not read the message, if it could not. A message with an event id was read, so an `UNREADABLE`
    /// header on it is forged and ignored.
    pub fn unreadable(&self) -> Option<&str> {
        self.header(UNREADABLE).filter(|_| self.header(ID).is_none())
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
    }

    /// Sets a header, replacing all headers of this name.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.retain(|(header, _)| header != name);
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The partition of a key, as in Kafka's Java client: murmur2 of its bytes, made positive, modulo `partitions`.
pub(crate) fn partition_of(key: &str, partitions: u32) -> u32 {
    (murmur2(key.as_bytes()) & 0x7fff_ffff) % partitions.max(1)
}

/// `MurmurHash2` with Kafka's seed (org.apache.kafka.common.utils.Utils.murmur2).
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let (words, rest) = data.as_chunks::<4>();
    let mut hash = words.iter().fold(SEED ^ length, |hash, word| {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k = (k ^ (k >> R)).wrapping_mul(M);
        hash.wrapping_mul(M) ^ k
    });
    if !rest.is_empty() {
        hash = rest
            .iter()
            .zip([0, 8, 16])
            .fold(hash, |hash, (byte, shift)| hash ^ (u32::from(*byte) << shift));
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Kafka's own test (UtilsTest.testMurmur2).
    #[test]
    fn murmur2_matches_kafka() {
        let vectors: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (text, hash) in vectors {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), hash, "{text}");
        }
    }
}
