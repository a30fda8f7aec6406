//! Isolated schemas and databases in PostgreSQL, and access to them beside the adapter under test.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use storage::PostgresAddress;

use crate::{Engine, Fixture, unique_name};

const POLL: Duration = Duration::from_millis(20);
const TIMEOUT: Duration = Duration::from_secs(20);

/// A unique schema.
#[derive(Debug, Clone)]
pub struct PostgresFixture {
    pub url: String,
    pub schema: String,
}

impl Fixture for PostgresFixture {
    fn new() -> Option<Self> {
        Some(Self {
            url: Engine::PostgreSql.address()?,
            schema: unique_name(),
        })
    }
}

impl PostgresFixture {
    /// The address of the database.
    pub fn address(&self) -> PostgresAddress {
        address(&self.url)
    }

    /// A connection beside the adapter, in this schema.
    pub async fn connect(&self) -> PgConnection {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        sqlx::query("SELECT set_config('search_path', $1, false)")
            .bind(&self.schema)
            .execute(&mut connection)
            .await
            .unwrap();
        connection
    }

    /// Runs statements on a connection beside the adapter.
    pub async fn execute(&self, statements: &str) {
        execute(&self.url, &self.schema, statements).await.unwrap();
    }

    /// The `application_name` of the adapter's sessions in `pg_stat_activity`.
    pub fn application(&self) -> String {
        format!("cartwright-{}", self.schema)
    }

    /// Terminates the connections of all adapters in this schema.
    pub async fn cut(&self, connection: &mut PgConnection) {
        sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1")
            .bind(self.application())
            .execute(connection)
            .await
            .unwrap();
    }

    /// Drops the schema. For tests that fill it with many rows; `close` leaves schemas behind.
    pub async fn drop_schema(&self) {
        self.execute(&format!("DROP SCHEMA \"{}\" CASCADE", self.schema)).await;
    }

    /// Updates the planner's statistics and resets the scan counters. Call this after filling the tables.
    pub async fn count_scans(&self) {
        let mut connection = self.connect().await;
        let tables: Vec<(String,)> =
            sqlx::query_as("SELECT relname::text FROM pg_stat_user_tables WHERE schemaname = $1")
                .bind(&self.schema)
                .fetch_all(&mut connection)
                .await
                .unwrap();
        for (table,) in tables {
            let analyze = format!("VACUUM (ANALYZE) \"{}\".\"{table}\"", self.schema);
            sqlx::query(AssertSqlSafe(analyze))
                .execute(&mut connection)
                .await
                .unwrap();
        }
        sqlx::query("SELECT pg_stat_reset_single_table_counters(relid) FROM pg_stat_user_tables WHERE schemaname = $1")
            .bind(&self.schema)
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    }

    /// The tables of which sequential scans read `least` rows or more since [`Self::count_scans`], with the number.
    /// Drop the store first: the server counts when a session ends, and this waits for all sessions.
    pub async fn full_scans(&self, least: i64) -> Vec<(String, i64)> {
        let mut connection = self.after_all_sessions().await;
        sqlx::query_as(
            "SELECT relname::text, seq_tup_read FROM pg_stat_user_tables WHERE schemaname = $1 AND seq_tup_read >= $2",
        )
        .bind(&self.schema)
        .bind(least)
        .fetch_all(&mut connection)
        .await
        .unwrap()
    }

    /// The number of rows of a table read by any scan. Drop the store first, as for [`Self::full_scans`].
    pub async fn rows_read(&self, table: &str) -> i64 {
        let mut connection = self.after_all_sessions().await;
        sqlx::query_scalar(
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE schemaname = $1 AND relname = $2",
        )
        .bind(&self.schema)
        .bind(table)
        .fetch_one(&mut connection)
        .await
        .unwrap()
    }

    /// Waits for the end of all sessions of the adapter, and opens a new connection.
    async fn after_all_sessions(&self) -> PgConnection {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        let began = Instant::now();
        loop {
            let open: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE application_name = $1")
                .bind(self.application())
                .fetch_one(&mut connection)
                .await
                .unwrap();
            if open == 0 {
                return connection;
            }
            assert!(began.elapsed() < TIMEOUT, "{open} sessions are still open");
            tokio::time::sleep(POLL).await;
        }
    }
}

/// A unique database, for a whole service: a service chooses its schema itself.
#[derive(Debug)]
pub struct PostgresDatabase {
    /// The URL of the shared test database.
    pub url: String,
    pub name: String,
}

impl PostgresDatabase {
    /// `None` as for [`Engine::address`].
    pub async fn create() -> Option<Self> {
        let (url, name) = (Engine::PostgreSql.address()?, unique_name());
        let mut connection = PgConnection::connect(&url).await.unwrap();
        let create = format!("CREATE DATABASE {name}");
        sqlx::query(AssertSqlSafe(create))
            .execute(&mut connection)
            .await
            .unwrap();
        Some(Self { url, name })
    }

    /// The address for a service.
    pub fn address(&self) -> PostgresAddress {
        address(&self.url).with_database(&self.name)
    }

    /// The URL for other clients.
    pub fn own_url(&self) -> String {
        let (server, _) = self.url.rsplit_once('/').unwrap();
        format!("{server}/{}", self.name)
    }

    /// Terminates all connections to this database.
    pub async fn cut(&self, connection: &mut PgConnection) {
        let cut =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND usename = current_user";
        sqlx::query(cut).bind(&self.name).execute(connection).await.unwrap();
    }

    pub async fn drop(self) {
        drop_database(&self.url, &self.name).await.unwrap();
    }
}

fn address(url: &str) -> PostgresAddress {
    PostgresAddress::from_url(Engine::PostgreSql.variable(), url).unwrap()
}

/// Runs statements in this schema.
pub async fn execute(url: &str, schema: &str, statements: &str) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    let sql = format!("SET search_path = \"{schema}\"; {statements}");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
    connection.close().await
}

/// Drops a database and its connections. `WITH (FORCE)` needs a superuser while autovacuum works in the database.
pub async fn drop_database(url: &str, name: &str) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    let close = format!("ALTER DATABASE \"{name}\" ALLOW_CONNECTIONS false");
    sqlx::query(AssertSqlSafe(close)).execute(&mut connection).await?;
    sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND usename = current_user")
        .bind(name)
        .execute(&mut connection)
        .await?;
    // The server waits a few seconds for terminating sessions.
    let drop = format!("DROP DATABASE \"{name}\"");
    sqlx::query(AssertSqlSafe(drop)).execute(&mut connection).await?;
    connection.close().await
}
