//! Topics, as those who publish, read and keep them know them. It is here and not beside the bus, so that the table of
//! topics is to be had without a bus and its clients.

/// A topic of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topic {
    pub name: &'static str,
    /// What its key is, in words: events of one key stay in their order.
    pub key: &'static str,
    /// How many it is made with; one that is there keeps its own.
    pub partitions: u32,
    /// All groups that read it. What one of them has not read is kept for it.
    pub groups: &'static [&'static str],
}
