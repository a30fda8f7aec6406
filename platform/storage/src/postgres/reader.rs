//! A pool for single statements that read, each of which has an answer in time or fails.

use futures::{FutureExt, StreamExt, future::BoxFuture, stream, stream::BoxStream};
use sqlx::{
    Database, Either, Error, Execute, Executor, PgPool, Postgres, SqlStr,
    postgres::{PgQueryResult, PgRow, PgStatement},
};
use tokio::time::{Instant, timeout_at};

use super::ANSWER_TIMEOUT;

/// Executes single statements that read, on any connection.
#[derive(Debug, Clone, Copy)]
pub struct PostgresReader<'a>(pub(super) &'a PgPool);

/// The server may be hung: then nothing but the clock ends a wait for it.
async fn in_time<T>(answer: impl Future<Output = Result<T, Error>>, until: Instant) -> Result<T, Error> {
    match timeout_at(until, answer).await {
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
        let until = Instant::now() + ANSWER_TIMEOUT;
        stream::try_unfold(self.0.fetch_many(query), move |mut rows| async move {
            let next = in_time(async { rows.next().await.transpose() }, until).await?;
            Ok(next.map(|next| (next, rows)))
        })
        .boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        in_time(self.0.fetch_optional(query), Instant::now() + ANSWER_TIMEOUT).boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [<Postgres as Database>::TypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'c: 'e,
    {
        in_time(self.0.prepare_with(sql, parameters), Instant::now() + ANSWER_TIMEOUT).boxed()
    }
}
