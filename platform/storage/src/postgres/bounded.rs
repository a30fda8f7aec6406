//! Bounded reads in PostgreSQL: own connections, and statements with a server-side timeout.

use futures::future::BoxFuture;
use runtime::Tasks;
use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;

use super::{Postgres, pool, reader::CheckedOut};
use crate::{
    StoreError,
    bounded::{BoundedError, Bounds, ReadLimiter},
};

/// Bounded reads use indexes and one worker each. JIT is off: it would compile plans that only look expensive.
const SESSION: [(&str, &str); 3] = [
    ("enable_seqscan", "off"),
    ("max_parallel_workers_per_gather", "0"),
    ("jit", "off"),
];
/// Makes the server end the statement at the deadline.
const LIMIT: &str = "SELECT set_config('statement_timeout', $1, false)";

/// Bounded readers, which share only the CPU of at most `concurrent` server processes. Clones share the limits.
#[derive(Debug, Clone)]
pub struct PostgresBounded {
    pool: PgPool,
    limiter: ReadLimiter,
    /// Running reads. Each has a deadline.
    tasks: Tasks,
}

impl Postgres {
    /// Opens connections for bounded reads, apart from all others. They use an index wherever one exists.
    pub fn bounded(&self, bounds: Bounds) -> PostgresBounded {
        let connect = self.pool.connect_options().as_ref().clone().options(SESSION);
        PostgresBounded {
            pool: pool(bounds.concurrent.into(), connect),
            limiter: ReadLimiter::new(bounds),
            tasks: self.tasks.clone(),
        }
    }
}

impl PostgresBounded {
    /// Runs single read-only statements. The server ends the running statement at the deadline. If the caller goes
    /// away, the permit is held until the statement ends, so that the server works for at most `concurrent` readers.
    pub async fn run<T, F>(&self, work: F) -> Result<T, BoundedError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        let permit = self.limiter.acquire().await?;
        let pool = self.pool.clone();
        let reading = async move {
            let answer = async {
                let mut connection = CheckedOut::acquire(&pool).await?;
                let left = permit.deadline.saturating_duration_since(Instant::now());
                // 1 ms later than here: `permit.run` must see the deadline reached when the statement ends.
                let left = format!("{}ms", left.as_millis() + 1);
                sqlx::query(LIMIT).bind(left).execute(&mut **connection).await?;
                let value = work(&mut connection).await?;
                connection.release();
                Ok(value)
            };
            permit.run(answer).await
        };
        self.tasks.spawn(reading).await.map_err(StoreError::corrupt)?
    }
}
