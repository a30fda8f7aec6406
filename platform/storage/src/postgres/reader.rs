//! A pool for single read-only statements, each with a timeout.

use std::ops::{Deref, DerefMut};

use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt, future::BoxFuture, stream, stream::BoxStream};
use runtime::deadlines::STORE_ANSWER;
use sqlx::{
    Database, Either, Error, Execute, Executor, PgPool, Postgres, SqlStr,
    pool::PoolConnection,
    postgres::{PgQueryResult, PgRow, PgStatement},
};
use tokio::time::{Instant, timeout_at};

/// Executes single read-only statements on any connection of the pool.
#[derive(Debug, Clone, Copy)]
pub struct PostgresReader<'a>(pub(super) &'a PgPool);

/// A pooled connection that is closed unless it was released. sqlx pings returned connections without a timeout; on a
/// hung server those pings would fill the pool.
pub(super) struct CheckedOut(Option<PoolConnection<Postgres>>);

impl CheckedOut {
    pub(super) async fn acquire(pool: &PgPool) -> Result<Self, Error> {
        pool.acquire().await.map(|connection| Self(Some(connection)))
    }

    pub(super) fn release(mut self) {
        drop(self.0.take());
    }
}

impl Deref for CheckedOut {
    type Target = PoolConnection<Postgres>;

    fn deref(&self) -> &Self::Target {
        match &self.0 {
            Some(connection) => connection,
            None => unreachable!("only `release` and `drop` take it"),
        }
    }
}

impl DerefMut for CheckedOut {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match &mut self.0 {
            Some(connection) => connection,
            None => unreachable!("only `release` and `drop` take it"),
        }
    }
}

impl Drop for CheckedOut {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}

/// Limits a statement by the clock: a hung server never answers.
async fn in_time<T>(answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match timeout_at(Instant::now() + STORE_ANSWER, answer).await {
        Ok(answer) => answer,
        Err(elapsed) => Err(Error::Io(elapsed.into())),
    }
}

impl<'c> Executor<'c> for PostgresReader<'c> {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let rows = in_time(async {
            let mut connection = CheckedOut::acquire(self.0).await?;
            let rows: Vec<_> = connection.fetch_many(query).try_collect().await?;
            connection.release();
            Ok(rows)
        });
        rows.map_ok(|rows| stream::iter(rows.into_iter().map(Ok)))
            .try_flatten_stream()
            .boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        in_time(async {
            let mut connection = CheckedOut::acquire(self.0).await?;
            let row = connection.fetch_optional(query).await?;
            connection.release();
            Ok(row)
        })
        .boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [<Postgres as Database>::TypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'c: 'e,
    {
        in_time(async {
            let mut connection = CheckedOut::acquire(self.0).await?;
            let statement = connection.prepare_with(sql, parameters).await?;
            connection.release();
            Ok(statement)
        })
        .boxed()
    }
}
