//! Bounded reading in SQLite: connections of its own, and statements that are interrupted.

use std::sync::Arc;

use futures::future::BoxFuture;
use sqlx::{SqliteConnection, SqlitePool, sqlite::SqlitePoolOptions};

use super::{BUSY_TIMEOUT, Sqlite};
use crate::{
    StoreError,
    bounded::{BoundedError, Bounds, Turns},
};

/// Steps of SQLite's machine between two looks at whether anybody still wants the answer: some microseconds.
const STEPS: i32 = 100;

/// Readers that take nothing from the others but the time of as many threads as may read at once. Clones share them.
#[derive(Debug, Clone)]
pub struct SqliteBounded {
    pool: SqlitePool,
    turns: Turns,
}

impl Sqlite {
    /// Connections for bounded reading, apart from those of [`Sqlite::reader`].
    pub fn bounded(&self, bounds: Bounds) -> SqliteBounded {
        let pool = SqlitePoolOptions::new()
            .max_connections(bounds.at_once.into())
            .acquire_timeout(BUSY_TIMEOUT)
            .test_before_acquire(false)
            .connect_lazy_with(self.readers.connect_options().as_ref().clone());
        SqliteBounded {
            pool,
            turns: Turns::new(bounds),
        }
    }
}

impl SqliteBounded {
    /// Reads on a connection that cannot write. When the time is over, or the caller goes away, SQLite is interrupted in the
    /// middle of its work.
    pub async fn run<T, F>(&self, work: F) -> Result<T, BoundedError>
    where
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send,
    {
        let turn = self.turns.take().await?;
        // Goes with this future: whoever drops that wants no answer.
        let caller = Arc::new(());
        let wanted = Arc::downgrade(&caller);
        let answer = async {
            let mut connection = self.pool.acquire().await?;
            // It takes the place of the one that the last caller left.
            let mut handle = connection.lock_handle().await?;
            handle.set_progress_handler(STEPS, move || wanted.strong_count() > 0);
            drop(handle);
            work(&mut connection).await
        };
        turn.limit(answer).await
    }
}
