//! A look into the files of a shop, and a hand on them while it is closed.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result};
use futures::TryStreamExt;
use sqlx::{
    AssertSqlSafe, Connection, FromRow, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteRow},
};

/// What changes without anything having happened.
const RESTLESS: [&str; 1] = ["outbox_lease"];

/// The rows of every table, as `file.table`.
pub type Contents = BTreeMap<String, Vec<String>>;

/// What a query finds in the store of this name. Nothing can be changed this way.
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

/// All that a shop has stored.
pub async fn contents(data_dir: &Path) -> Result<Contents> {
    let mut all = Contents::new();
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
            .filter(|(table,)| !RESTLESS.contains(&table.as_str()))
        {
            all.insert(format!("{store}.{table}"), rows_of(data_dir, &store, &table).await?);
        }
    }
    Ok(all)
}

async fn rows_of(data_dir: &Path, store: &str, table: &str) -> Result<Vec<String>> {
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
