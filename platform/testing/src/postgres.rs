//! A hand on a PostgreSQL database, beside the adapter that is tested.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

const LOOK: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs statements, one after the other, in this schema.
pub async fn execute(url: &str, schema: &str, statements: &str) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    let sql = format!("SET search_path = \"{schema}\"; {statements}");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
    connection.close().await
}

/// Drops a database with all connections to it. By `WITH (FORCE)` only a superuser may do so while the server cleans up in it.
pub async fn drop_database(url: &str, name: &str) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    let close = format!("ALTER DATABASE \"{name}\" ALLOW_CONNECTIONS false");
    sqlx::query(AssertSqlSafe(close)).execute(&mut connection).await?;
    sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND usename = current_user")
        .bind(name)
        .execute(&mut connection)
        .await?;
    // Waits some seconds for those who are going.
    let drop = format!("DROP DATABASE \"{name}\"");
    sqlx::query(AssertSqlSafe(drop)).execute(&mut connection).await?;
    connection.close().await
}

/// Counts full scans from here on: call it once the tables are filled. Brings the planner's statistics up to date.
pub async fn count_scans(url: &str, schema: &str) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    let tables: Vec<(String,)> = sqlx::query_as("SELECT relname::text FROM pg_stat_user_tables WHERE schemaname = $1")
        .bind(schema)
        .fetch_all(&mut connection)
        .await?;
    for (table,) in tables {
        let analyze = format!("VACUUM (ANALYZE) \"{schema}\".\"{table}\"");
        sqlx::query(AssertSqlSafe(analyze)).execute(&mut connection).await?;
    }
    sqlx::query("SELECT pg_stat_reset_single_table_counters(relid) FROM pg_stat_user_tables WHERE schemaname = $1")
        .bind(schema)
        .execute(&mut connection)
        .await?;
    connection.close().await
}

/// The tables of which `least` rows or more were read from end to end since [`count_scans`], with how many. Drop the store
/// first: the server counts what a session did when it ends, and this waits for that.
pub async fn full_scans(url: &str, schema: &str, least: i64) -> sqlx::Result<Vec<(String, i64)>> {
    let mut connection = after_all_sessions(url, schema).await?;
    let scanned = sqlx::query_as(
        "SELECT relname::text, seq_tup_read FROM pg_stat_user_tables WHERE schemaname = $1 AND seq_tup_read >= $2",
    )
    .bind(schema)
    .bind(least)
    .fetch_all(&mut connection)
    .await?;
    connection.close().await?;
    Ok(scanned)
}

/// How many rows of a table were ever read, in whatever way. Drop the store first, as for [`full_scans`].
pub async fn rows_read(url: &str, schema: &str, table: &str) -> sqlx::Result<i64> {
    let mut connection = after_all_sessions(url, schema).await?;
    let read = sqlx::query_scalar(
        "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE schemaname = $1 AND relname = $2",
    )
    .bind(schema)
    .bind(table)
    .fetch_one(&mut connection)
    .await?;
    connection.close().await?;
    Ok(read)
}

/// A connection from after the end of all sessions of this schema's service.
async fn after_all_sessions(url: &str, schema: &str) -> sqlx::Result<PgConnection> {
    let mut connection = PgConnection::connect(url).await?;
    let began = Instant::now();
    loop {
        let open: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE application_name = $1")
            .bind(format!("cartwright-{schema}"))
            .fetch_one(&mut connection)
            .await?;
        if open == 0 {
            return Ok(connection);
        }
        if began.elapsed() > PATIENCE {
            return Err(sqlx::Error::PoolTimedOut);
        }
        tokio::time::sleep(LOOK).await;
    }
}
