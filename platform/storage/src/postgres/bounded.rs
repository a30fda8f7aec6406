//! Bounded reading in PostgreSQL: connections of its own, and statements that the server ends.

use futures::future::BoxFuture;
use runtime::Tasks;
use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;

use super::{Postgres, pool, reader::Borrowed};
use crate::{
    StoreError,
    bounded::{BoundedError, Bounds, Turns},
};

/// What is read here is found by indexes, by one worker for each reader. A plan that is expensive on paper is not compiled.
const SESSION: [(&str, &str); 3] = [
    ("enable_seqscan", "off"),
    ("max_parallel_workers_per_gather", "0"),
    ("jit", "off"),
];
/// The server ends by itself what nobody waits for any more.
const LIMIT: &str = "SELECT set_config('statement_timeout', $1, false)";

/// Readers that take nothing from the others but the time of as many server processes as may read at once. Clones share them.
#[derive(Debug, Clone)]
pub struct PostgresBounded {
    pool: PgPool,
    turns: Turns,
    /// What reads now; it ends by itself, soon.
    tasks: Tasks,
}

impl Postgres {
    /// Connections for bounded reading, apart from those of all others. They use indexes wherever there is one.
    pub fn bounded(&self, bounds: Bounds) -> PostgresBounded {
        let connect = self.pool.connect_options().as_ref().clone().options(SESSION);
        PostgresBounded {
            pool: pool(bounds.at_once.into(), connect),
            turns: Turns::new(bounds),
            tasks: self.tasks.clone(),
        }
    }
}

impl PostgresBounded {
    /// Reads by single statements. When the time is over the server ends the one that it is at. When the caller goes away the
    /// turn lasts on until that statement ends: the server does not work for more readers than may read at once.
    pub async fn run<T, F>(&self, work: F) -> Result<T, BoundedError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        let turn = self.turns.take().await?;
        let pool = self.pool.clone();
        let reading = async move {
            let answer = async {
                let mut connection = Borrowed::from(&pool).await?;
                let left = turn.until.saturating_duration_since(Instant::now());
                // Later than the clock here, which says by what the statement was ended.
                let left = format!("{}ms", left.as_millis() + 1);
                sqlx::query(LIMIT).bind(left).execute(&mut **connection).await?;
                let value = work(&mut connection).await?;
                connection.give_back();
                Ok(value)
            };
            turn.limit(answer).await
        };
        self.tasks.spawn(reading).await.map_err(StoreError::corrupt)?
    }
}
