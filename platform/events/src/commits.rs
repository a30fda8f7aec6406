//! The names of the commits of outboxes, inboxes and the bus in SQLite.

pub const OUTBOX_LEASE: &str = "outbox.lease";
pub const OUTBOX_MARK: &str = "outbox.mark";
pub const OUTBOX_PRUNE: &str = "outbox.prune";
pub const INBOX_PRUNE: &str = "inbox.prune";
pub const BUS_TOPIC: &str = "bus.topic";
pub const BUS_PUBLISH: &str = "bus.publish";
pub const BUS_OFFSETS: &str = "bus.offsets";
pub const BUS_SIGN: &str = "bus.sign";
pub const BUS_ERASE: &str = "bus.erase";
pub const BUS_TRIM: &str = "bus.trim";

/// What every shop commits. The note of an inbox goes with the effect of its event.
pub const ALL: &[&str] = &[OUTBOX_LEASE, OUTBOX_MARK, OUTBOX_PRUNE, INBOX_PRUNE];

/// What only the bus in SQLite commits.
pub const SQLITE: &[&str] = &[BUS_TOPIC, BUS_PUBLISH, BUS_OFFSETS, BUS_SIGN, BUS_ERASE, BUS_TRIM];
