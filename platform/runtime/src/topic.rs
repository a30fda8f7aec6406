//! The definition of topics. Not in `events`, so that the table of topics needs neither a bus nor its clients.

/// A topic of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topic {
    pub name: &'static str,
    /// What the key is, in words. Events of one key stay in order.
    pub key: &'static str,
    /// The number of partitions of a new topic. An existing topic keeps its own.
    pub partitions: u32,
    /// All consumer groups. The topic keeps what one of them has not read.
    pub groups: &'static [&'static str],
}
