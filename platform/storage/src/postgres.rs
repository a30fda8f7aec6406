//! PostgreSQL: a pool for one service's schema, and transactions that outlive their caller.

mod address;
mod bounded;
mod reader;
mod time;

use std::{io::ErrorKind, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use runtime::{
    Kind, Points, Tasks,
    deadlines::{PROBE_QUESTION, STORE_ANSWER, STORE_CONNECTION, TRANSACTION},
};
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, PgPool,
    error::DatabaseError,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::{Instant, timeout, timeout_at};

use crate::{Heartbeat, Migrations, OpenError, StoreError};

pub use address::{PgSslMode, PostgresAddress, PostgresParts, PostgresTls};
pub use bounded::PostgresBounded;
pub use reader::PostgresReader;
pub use time::{SqlTimestamp, timestamptz};

/// Connections of one service in one process, at most. Seven services have a database here or the provider's, so one of each
/// takes up to seventy; more would only queue in the server instead of here.
const CONNECTIONS: u32 = 10;
/// A connection that lay idle for longer may have died with its server: it is asked before it is used.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);
/// How long an unreachable server is waited for at start: it may be starting, too.
const START_PATIENCE: Duration = Duration::from_secs(8);
const START_RETRY: Duration = Duration::from_millis(250);

/// Writes a new version of a row that stays as it was. The list of applied changes is in every schema: a table of its own for
/// this would be one that an earlier version of this program does not know.
const HEARTBEAT: &str = "UPDATE _sqlx_migrations SET description = description WHERE version = 1";
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// One service's schema in a PostgreSQL database. Clones share the pool.
#[derive(Debug, Clone)]
pub struct Postgres {
    pool: PgPool,
    points: Points,
    /// Transactions and bounded reading; they end by themselves, soon.
    tasks: Tasks,
    heartbeat: Heartbeat,
}

/// What it takes to open one.
#[derive(Debug, Clone, Copy)]
pub struct PostgresOptions<'a> {
    pub address: &'a PostgresAddress,
    /// Made if it is not there. A plain name: letters, digits and underscores.
    pub schema: &'a str,
    pub migrations: Migrations,
    pub points: &'a Points,
}

impl Postgres {
    /// Connects, makes the schema if it is not there, and brings it up to date. One process at a time does so.
    ///
    /// Returns within 15 s, also when nobody answers.
    pub async fn open(options: PostgresOptions<'_>) -> Result<Self, OpenError> {
        let PostgresOptions { address, schema, .. } = options;
        address.warn();
        let connect = session(address, schema);
        let mut connection = first_connection(address, &connect).await?;
        let migrated = timeout(START_PATIENCE, migrate(&mut connection, schema, options.migrations)).await;
        migrated
            .map_err(|_| address.problem("the schema is being changed by another process that does not finish"))?
            .map_err(|error| address.explain_migration(schema, &error))?;
        // What goes wrong with a connection that is not needed any more does no harm.
        let _ = connection.close().await;
        Ok(Self {
            pool: pool(CONNECTIONS, connect),
            points: options.points.clone(),
            tasks: Tasks::new(),
            heartbeat: Heartbeat::default(),
        })
    }

    /// Runs `work` in a transaction (READ COMMITTED) and answers after its commit. It runs to its end even when the caller
    /// goes away: no connection is ever left inside of one.
    ///
    /// `work` that fails leaves nothing behind. `label` names the commit for its points: `inventory.reserve`.
    pub async fn write<T, F>(&self, label: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        let (pool, points) = (self.pool.clone(), self.points.clone());
        let transaction = async move {
            let until = Instant::now() + STORE_ANSWER;
            let mut connection = pool.acquire().await?;
            let work = async {
                let begun = timeout_at(until, connection.begin()).await.ok()?;
                let done = async {
                    let mut tx = begun?;
                    let value = work(&mut tx).await?;
                    let commit = points.enter(Kind::Commit, label);
                    tx.commit().await?;
                    commit.done();
                    Ok(value)
                };
                Some(done.await)
            };
            let done = timeout(TRANSACTION, work).await.ok().flatten();
            done.unwrap_or_else(|| {
                // Closes the socket: whatever the server was doing for it is rolled back.
                drop(connection.detach());
                Err(StoreError::unavailable(format!(
                    "{label} did not begin within {STORE_ANSWER:?} or took longer than {TRANSACTION:?}"
                )))
            })
        };
        self.tasks.spawn(transaction).await.map_err(StoreError::corrupt)?
    }

    /// What runs for callers that may have gone away. Each ends by itself, soon.
    pub fn transactions(&self) -> Tasks {
        self.tasks.clone()
    }

    /// For single statements that read. They may be dropped at any time.
    pub const fn reader(&self) -> PostgresReader<'_> {
        PostgresReader(&self.pool)
    }

    /// Whether the database answers and takes writes: for a readiness probe.
    pub async fn is_up(&self) -> bool {
        let ask = sqlx::query("SELECT 1").execute(self.reader());
        let answers = matches!(timeout(PROBE_QUESTION, ask).await, Ok(Ok(_)));
        answers && self.heartbeat.beat(|| self.write_heartbeat()).await
    }

    /// A single statement, so that it may be dropped at any time.
    async fn write_heartbeat(&self) -> Result<(), StoreError> {
        let beat = sqlx::query(HEARTBEAT).execute(self.reader());
        match timeout(PROBE_QUESTION, beat).await {
            Ok(Ok(_)) => Ok(()),
            // Whoever applied the changes let nobody else touch the list of them. That says nothing of the other tables.
            Ok(Err(error)) if has_code(&error, INSUFFICIENT_PRIVILEGE) => Ok(()),
            Ok(Err(error)) => Err(error.into()),
            Err(elapsed) => Err(StoreError::unavailable(elapsed)),
        }
    }
}

/// A pool in which nothing is connected yet.
fn pool(connections: u32, connect: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(STORE_CONNECTION)
        .test_before_acquire(false)
        .before_acquire(|connection, usage| {
            async move {
                let trusted = usage.idle_for < TRUSTED_IDLE;
                Ok(trusted || matches!(timeout(PROBE_QUESTION, connection.ping()).await, Ok(Ok(()))))
            }
            .boxed()
        })
        .connect_lazy_with(connect)
}

/// How this service's connections are set up.
fn session(address: &PostgresAddress, schema: &str) -> PgConnectOptions {
    address
        .connect()
        .application_name(&format!("cartwright-{schema}"))
        .options([
            ("search_path", schema),
            // Against a transaction that hangs on a client that is gone, and a statement that nobody waits for any more.
            ("idle_in_transaction_session_timeout", "10s"),
            ("statement_timeout", "10s"),
        ])
}

/// The first connection decides whether the settings are right. A server that is not there yet is waited for.
async fn first_connection(address: &PostgresAddress, connect: &PgConnectOptions) -> Result<PgConnection, OpenError> {
    let until = Instant::now() + START_PATIENCE;
    loop {
        let failed = match timeout(START_PATIENCE, PgConnection::connect_with(connect)).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => error,
            Err(elapsed) => sqlx::Error::Io(elapsed.into()),
        };
        if !is_passing(&failed) || Instant::now() >= until {
            return Err(address.explain(&failed));
        }
        tokio::time::sleep(START_RETRY).await;
    }
}

fn has_code(error: &sqlx::Error, code: &str) -> bool {
    let found = error.as_database_error().and_then(DatabaseError::code);
    found.is_some_and(|found| found == code)
}

/// Whether it may go by itself: nobody listens yet, or the server says that it is starting or stopping (class 57). A certificate
/// that is not believed (invalid data, to TLS) stays so.
fn is_passing(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    matches!(error, sqlx::Error::Io(source) if source.kind() != ErrorKind::InvalidData)
        || code.is_some_and(|code| code.starts_with("57P"))
}

/// Makes the schema and applies what is missing, under a lock that other processes wait for.
async fn migrate(
    connection: &mut PgConnection,
    schema: &str,
    migrations: Migrations,
) -> Result<(), sqlx::migrate::MigrateError> {
    // Held until the connection is closed.
    sqlx::query("SELECT pg_advisory_lock(hashtextextended('cartwright schema ' || $1, 0))")
        .bind(schema)
        .execute(&mut *connection)
        .await?;
    let is_there: bool = sqlx::query_scalar("SELECT to_regnamespace(quote_ident($1)) IS NOT NULL")
        .bind(schema)
        .fetch_one(&mut *connection)
        .await?;
    // Who may not make one may use the one that somebody made for it.
    if !is_there {
        sqlx::query(AssertSqlSafe(format!("CREATE SCHEMA \"{schema}\"")))
            .execute(&mut *connection)
            .await?;
    }
    let mut migrator = migrations.migrator();
    migrator.set_locking(false);
    // `run` does the same, by way of a trait that makes this future one that cannot be sent to another thread.
    migrator.run_direct(None, connection, false).await
}

#[cfg(test)]
mod tests;
