//! PostgreSQL: a pool for one service's schema, and transactions that outlive their caller.

mod address;
mod bounded;
mod reader;
mod time;

use std::{io::ErrorKind, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use runtime::{
    PointKind, Points, Tasks,
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

/// Connections per service and process, at most. Seven services use PostgreSQL (the provider included), so one process
/// of each takes up to 70. More connections would only move the queue into the server.
const CONNECTIONS: u32 = 10;
/// A connection that was idle for longer may have died with its server: the pool pings the connection before use.
const PING_AFTER_IDLE: Duration = Duration::from_secs(1);
/// How long to wait at start for an unreachable server, which may be starting, too.
const START_TIMEOUT: Duration = Duration::from_secs(8);
const START_RETRY: Duration = Duration::from_millis(250);

/// Rewrites an unchanged row. The table of applied migrations is in every schema; a table for heartbeats would be
/// unknown to earlier versions of the program.
const HEARTBEAT: &str = "UPDATE _sqlx_migrations SET description = description WHERE version = 1";
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// One service's schema in a PostgreSQL database. Clones share the pool.
#[derive(Debug, Clone)]
pub struct Postgres {
    pool: PgPool,
    points: Points,
    /// Transactions and bounded reads. Each has a deadline.
    tasks: Tasks,
    heartbeat: Heartbeat,
}

/// How to open a PostgreSQL store.
#[derive(Debug, Clone, Copy)]
pub struct PostgresOptions<'a> {
    pub address: &'a PostgresAddress,
    /// Created if missing. A plain name: letters, digits and underscores.
    pub schema: &'a str,
    pub migrations: Migrations,
    pub points: &'a Points,
}

impl Postgres {
    /// Connects, creates the schema if missing, and applies pending migrations under a lock. Returns within 15 s, even
    /// if the server does not answer.
    pub async fn open(options: PostgresOptions<'_>) -> Result<Self, OpenError> {
        let PostgresOptions { address, schema, .. } = options;
        address.log_warnings();
        let connect = connect_options(address, schema);
        let mut connection = first_connection(address, &connect).await?;
        let migrated = timeout(START_TIMEOUT, migrate(&mut connection, schema, options.migrations)).await;
        migrated
            .map_err(|_| address.problem("the schema is being changed by another process that does not finish"))?
            .map_err(|error| address.explain_migration(schema, &error))?;
        // Failing to close this connection is harmless: nothing uses it any more.
        let _ = connection.close().await;
        Ok(Self {
            pool: pool(CONNECTIONS, connect),
            points: options.points.clone(),
            tasks: Tasks::new(),
            heartbeat: Heartbeat::default(),
        })
    }

    /// Runs `work` in a transaction (READ COMMITTED) and returns after the commit. Failed `work` leaves nothing behind.
    /// The transaction completes even if the caller goes away, so no connection is left inside a transaction. `label`
    /// names the commit's points: `inventory.reserve`.
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
                    let commit = points.enter(PointKind::Commit, label);
                    tx.commit().await?;
                    commit.done();
                    Ok(value)
                };
                Some(done.await)
            };
            let done = timeout(TRANSACTION, work).await.ok().flatten();
            done.unwrap_or_else(|| {
                // Closes the socket, so that the server rolls back.
                drop(connection.detach());
                Err(StoreError::unavailable(format!(
                    "{label} did not begin within {STORE_ANSWER:?} or took longer than {TRANSACTION:?}"
                )))
            })
        };
        self.tasks.spawn(transaction).await.map_err(StoreError::corrupt)?
    }

    /// The tasks of transactions and bounded reads, whose callers may have gone away. Each has a deadline.
    pub fn transactions(&self) -> Tasks {
        self.tasks.clone()
    }

    /// For single read-only statements, which may be cancelled at any time.
    pub const fn reader(&self) -> PostgresReader<'_> {
        PostgresReader(&self.pool)
    }

    /// Whether the database answers and takes writes. For readiness probes.
    pub async fn is_up(&self) -> bool {
        let ask = sqlx::query("SELECT 1").execute(self.reader());
        let answers = matches!(timeout(PROBE_QUESTION, ask).await, Ok(Ok(_)));
        answers && self.heartbeat.beat(|| self.write_heartbeat()).await
    }

    /// A single statement, so that it may be cancelled at any time.
    async fn write_heartbeat(&self) -> Result<(), StoreError> {
        let beat = sqlx::query(HEARTBEAT).execute(self.reader());
        match timeout(PROBE_QUESTION, beat).await {
            Ok(Ok(_)) => Ok(()),
            // This role may not write the migrations table. That says nothing about the other tables.
            Ok(Err(error)) if has_code(&error, INSUFFICIENT_PRIVILEGE) => Ok(()),
            Ok(Err(error)) => Err(error.into()),
            Err(elapsed) => Err(StoreError::unavailable(elapsed)),
        }
    }
}

/// A pool that connects when first used.
fn pool(connections: u32, connect: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(STORE_CONNECTION)
        .test_before_acquire(false)
        .before_acquire(|connection, usage| {
            async move {
                let trusted = usage.idle_for < PING_AFTER_IDLE;
                Ok(trusted || matches!(timeout(PROBE_QUESTION, connection.ping()).await, Ok(Ok(()))))
            }
            .boxed()
        })
        .connect_lazy_with(connect)
}

/// The connection options of this service.
fn connect_options(address: &PostgresAddress, schema: &str) -> PgConnectOptions {
    let transaction = format!("{}ms", TRANSACTION.as_millis());
    address
        .connect()
        .application_name(&format!("cartwright-{schema}"))
        .options([
            ("search_path", schema),
            // Ends transactions whose client hangs or is gone, and statements that nobody waits for.
            ("idle_in_transaction_session_timeout", transaction.as_str()),
            ("statement_timeout", transaction.as_str()),
        ])
}

/// Opens the first connection, which proves the settings. Waits for a server that is not reachable yet.
async fn first_connection(address: &PostgresAddress, connect: &PgConnectOptions) -> Result<PgConnection, OpenError> {
    let until = Instant::now() + START_TIMEOUT;
    loop {
        let failed = match timeout(START_TIMEOUT, PgConnection::connect_with(connect)).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => error,
            Err(elapsed) => sqlx::Error::Io(elapsed.into()),
        };
        if !is_transient(&failed) || Instant::now() >= until {
            return Err(address.explain(&failed));
        }
        tokio::time::sleep(START_RETRY).await;
    }
}

fn has_code(error: &sqlx::Error, code: &str) -> bool {
    let found = error.as_database_error().and_then(DatabaseError::code);
    found.is_some_and(|found| found == code)
}

/// Whether the error may pass: the server does not listen yet, or is starting or stopping (class 57). A rejected
/// certificate (TLS reports invalid data) does not pass.
fn is_transient(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    matches!(error, sqlx::Error::Io(source) if source.kind() != ErrorKind::InvalidData)
        || code.is_some_and(|code| code.starts_with("57P"))
}

/// Creates the schema and applies pending migrations, under a lock that other processes wait for.
async fn migrate(
    connection: &mut PgConnection,
    schema: &str,
    migrations: Migrations,
) -> Result<(), sqlx::migrate::MigrateError> {
    // Held until the connection closes.
    sqlx::query("SELECT pg_advisory_lock(hashtextextended('cartwright schema ' || $1, 0))")
        .bind(schema)
        .execute(&mut *connection)
        .await?;
    let is_there: bool = sqlx::query_scalar("SELECT to_regnamespace(quote_ident($1)) IS NOT NULL")
        .bind(schema)
        .fetch_one(&mut *connection)
        .await?;
    // A role that may not create schemas may use an existing one.
    if !is_there {
        sqlx::query(AssertSqlSafe(format!("CREATE SCHEMA \"{schema}\"")))
            .execute(&mut *connection)
            .await?;
    }
    let mut migrator = migrations.migrator();
    migrator.set_locking(false);
    // Not `run`: it goes through a trait whose future is not `Send`.
    migrator.run_direct(None, connection, false).await
}

#[cfg(test)]
mod tests;
