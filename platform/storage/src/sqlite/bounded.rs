//! Bounded reads in SQLite: own connections, and statements that are interrupted.

use std::sync::Arc;

use futures::future::BoxFuture;
use sqlx::{SqliteConnection, SqlitePool, sqlite::SqlitePoolOptions};

use super::{BUSY_TIMEOUT, Sqlite};
use crate::{
    StoreError,
    bounded::{BoundedError, Bounds, ReadLimiter},
};

/// Steps of SQLite's virtual machine between two checks whether the read is still wanted: some microseconds.
const STEPS: i32 = 100;

/// Bounded readers. They share only CPU with other readers: at most `concurrent` threads. Clones share the limits.
#[derive(Debug, Clone)]
pub struct SqliteBounded {
    pool: SqlitePool,
    limiter: ReadLimiter,
}

impl Sqlite {
    /// Opens connections for bounded reads, apart from [`Sqlite::reader`].
    pub fn bounded(&self, bounds: Bounds) -> SqliteBounded {
        let pool = SqlitePoolOptions::new()
            .max_connections(bounds.concurrent.into())
            .acquire_timeout(BUSY_TIMEOUT)
            .test_before_acquire(false)
            .connect_lazy_with(self.readers.connect_options().as_ref().clone());
        SqliteBounded {
            pool,
            limiter: ReadLimiter::new(bounds),
        }
    }
}

impl SqliteBounded {
    /// Reads on a read-only connection. At the deadline, or when the caller goes away, SQLite interrupts the statement.
    pub async fn run<T, F>(&self, work: F) -> Result<T, BoundedError>
    where
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send,
    {
        let permit = self.limiter.acquire().await?;
        // Dropped together with this future, that is, when the caller goes away.
        let caller = Arc::new(());
        let wanted = Arc::downgrade(&caller);
        let answer = async {
            let mut connection = self.pool.acquire().await?;
            // Replaces the handler of the connection's last user.
            let mut handle = connection.lock_handle().await?;
            handle.set_progress_handler(STEPS, move || wanted.strong_count() > 0);
            drop(handle);
            work(&mut connection).await
        };
        permit.run(answer).await
    }
}
