//! The labels of the commits of outboxes, inboxes and the bus in SQLite.

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

/// The commits on every bus. An inbox entry has no commit of its own: it commits with the effect of its event.
pub const ALL: &[&str] = &[OUTBOX_LEASE, OUTBOX_MARK, OUTBOX_PRUNE, INBOX_PRUNE];

/// The commits of the bus in SQLite.
pub const SQLITE: &[&str] = &[BUS_TOPIC, BUS_PUBLISH, BUS_OFFSETS, BUS_SIGN, BUS_ERASE, BUS_TRIM];
