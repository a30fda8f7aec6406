//! Times in PostgreSQL.

use jiff::Timestamp;
/// A `timestamptz`, to bind and to read; `to_jiff()` makes a [`Timestamp`] of it.
pub use jiff_sqlx::Timestamp as SqlTimestamp;
use jiff_sqlx::ToSqlx;

/// Rounds to whole milliseconds, as every store does, so that a time reads back as it was written.
pub fn timestamptz(at: Timestamp) -> SqlTimestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at).to_sqlx()
}
