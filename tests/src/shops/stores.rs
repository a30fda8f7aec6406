//! Queries on the SQLite files of a shop, and statements on them while the shop is closed.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result};
use futures::TryStreamExt;
use sqlx::{
    AssertSqlSafe, Connection, FromRow, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteRow},
};

/// Tables that change in an idle shop.
const VOLATILE_TABLES: [&str; 1] = ["outbox_lease"];

/// The rows of every table, by `file.table`.
pub type Dump = BTreeMap<String, Vec<String>>;

/// The rows of a query on a store, over a read-only connection.
pub async fn rows<T>(data_dir: &Path, store: &str, sql: impl Into<String>) -> Result<Vec<T>>
where
    T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
{
    let sql = sql.into();
    let options = SqliteConnectOptions::new()
        .filename(file(data_dir, store))
        .read_only(true);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let found = sqlx::query_as(AssertSqlSafe(sql.clone()))
        .fetch_all(&mut connection)
        .await;
    connection.close().await?;
    found.with_context(|| format!("{store}: {sql}"))
}

/// Runs statements on the store of a closed shop.
pub async fn execute(data_dir: &Path, store: &str, sql: impl Into<String>) -> Result<()> {
    let sql = sql.into();
    let options = SqliteConnectOptions::new().filename(file(data_dir, store));
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let done: Result<Vec<_>, _> = sqlx::raw_sql(AssertSqlSafe(sql.clone()))
        .execute_many(&mut connection)
        .try_collect()
        .await;
    connection.close().await?;
    done.with_context(|| format!("{store}: {sql}"))?;
    Ok(())
}

/// The rows of all tables of a shop.
pub async fn dump(data_dir: &Path) -> Result<Dump> {
    let mut all = Dump::new();
    for entry in std::fs::read_dir(data_dir)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "db") {
            continue;
        }
        let store = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let tables: Vec<(String,)> =
            rows(data_dir, &store, "SELECT name FROM sqlite_schema WHERE type = 'table'").await?;
        for (table,) in tables
            .into_iter()
            .filter(|(table,)| !VOLATILE_TABLES.contains(&table.as_str()))
        {
            all.insert(format!("{store}.{table}"), dump_table(data_dir, &store, &table).await?);
        }
    }
    Ok(all)
}

async fn dump_table(data_dir: &Path, store: &str, table: &str) -> Result<Vec<String>> {
    let columns: Vec<(String,)> = rows(
        data_dir,
        store,
        format!("SELECT name FROM pragma_table_info('{table}')"),
    )
    .await?;
    let quoted: Vec<_> = columns.iter().map(|(column,)| format!("quote(\"{column}\")")).collect();
    let sql = format!(
        "SELECT {} AS line FROM \"{table}\" ORDER BY line",
        quoted.join(" || ', ' || ")
    );
    let lines: Vec<(String,)> = rows(data_dir, store, sql).await?;
    Ok(lines.into_iter().map(|(line,)| line).collect())
}

fn file(data_dir: &Path, store: &str) -> std::path::PathBuf {
    data_dir.join(format!("{store}.db"))
}
