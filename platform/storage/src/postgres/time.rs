//! Times as PostgreSQL keeps them.

use jiff::Timestamp;
/// A `timestamptz`, to bind and to read; `to_jiff()` makes a [`Timestamp`] of it.
pub use jiff_sqlx::Timestamp as SqlTimestamp;
use jiff_sqlx::ToSqlx;

/// A time to be stored: in whole milliseconds, as every store keeps it, so that what is read is what was written.
pub fn timestamptz(at: Timestamp) -> SqlTimestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at).to_sqlx()
}
