//! Copies the data in the engines to SQLite files like those of an embedded shop, so that the same queries run on both.

use std::path::Path;

use anyhow::{Context, Result};
use events::EventBus;
use proto::events::TOPICS;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use super::engines::Namespace;

/// A folder with a file for each of these stores. Reads one store after the other: consistent only if the shop is idle.
pub(super) async fn take(namespace: &Namespace, stores: &[&str]) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    let mut schemas = Vec::new();
    for store in stores {
        match *store {
            "bus" => bus(namespace, folder.path()).await.context("Kafka")?,
            "cart" => carts(namespace, folder.path()).await.context("MongoDB")?,
            schema => schemas.push(schema),
        }
    }
    if schemas.is_empty() {
        return Ok(folder);
    }
    let mut postgres = PgConnection::connect(namespace.database_url()).await?;
    for schema in schemas {
        let mut file = file(folder.path(), schema).await?;
        copy_schema(&mut postgres, schema, &mut file)
            .await
            .with_context(|| format!("schema {schema}"))?;
        file.close().await?;
    }
    postgres.close().await?;
    Ok(folder)
}

async fn file(folder: &Path, store: &str) -> Result<SqliteConnection> {
    let options = SqliteConnectOptions::new()
        .filename(folder.join(format!("{store}.db")))
        .create_if_missing(true);
    let unsafe_and_quick = options.pragma("journal_mode", "off").pragma("synchronous", "off");
    Ok(unsafe_and_quick.disable_statement_logging().connect().await?)
}

async fn copy_schema(postgres: &mut PgConnection, schema: &str, file: &mut SqliteConnection) -> Result<()> {
    let tables: Vec<(String, Vec<String>)> = sqlx::query_as(
        // The catalog tables are much faster than the views of the information schema.
        "SELECT c.relname::text, array_agg(a.attname::text ORDER BY a.attnum)
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
         WHERE c.relnamespace = $1::regnamespace AND c.relkind = 'r' AND c.relname <> '_sqlx_migrations'
            AND a.attnum > 0 AND NOT a.attisdropped
         GROUP BY c.relname",
    )
    .bind(schema)
    .fetch_all(&mut *postgres)
    .await?;
    for (table, columns) in tables {
        let all = format!("SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]')::text FROM \"{schema}\".\"{table}\" t");
        let rows: String = sqlx::query_scalar(AssertSqlSafe(all)).fetch_one(&mut *postgres).await?;
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        fill(file, &table, &columns, rows).await?;
    }
    Ok(())
}

/// Creates a table from a JSON array of objects with these fields.
async fn fill(file: &mut SqliteConnection, table: &str, columns: &[&str], rows: String) -> Result<()> {
    let quoted = |column: &&str| format!("\"{column}\"");
    let names = columns.iter().map(quoted).collect::<Vec<_>>().join(", ");
    let make = format!("CREATE TABLE \"{table}\" ({names})");
    sqlx::query(AssertSqlSafe(make)).execute(&mut *file).await?;
    let values: Vec<_> = columns.iter().map(|column| format!("value ->> '$.{column}'")).collect();
    let insert = format!("INSERT INTO \"{table}\" SELECT {} FROM json_each(?)", values.join(", "));
    sqlx::query(AssertSqlSafe(insert)).bind(rows).execute(file).await?;
    Ok(())
}

/// The topics of the shop and the offsets of their consumer groups.
async fn bus(namespace: &Namespace, folder: &Path) -> Result<()> {
    let (mut messages, mut partitions, mut offsets) = (Vec::new(), Vec::new(), Vec::new());
    let bus = namespace.bus().await?;
    for topic in TOPICS {
        let mut next_offsets = vec![0_u64; usize::try_from(topic.partitions)?];
        for delivery in bus.read_all(topic.name).await? {
            let position = delivery.position;
            next_offsets[usize::try_from(position.partition)?] = position.offset + 1;
            messages.push(json!({
                "topic": topic.name, "partition": position.partition, "offset": position.offset,
                "key": delivery.message.key, "headers": delivery.message.headers,
                "value": String::from_utf8_lossy(&delivery.message.value),
            }));
        }
        for (partition, next) in next_offsets.into_iter().enumerate() {
            partitions.push(json!({"topic": topic.name, "partition": partition, "next_offset": next}));
        }
        for &group in topic.groups {
            for (partition, next) in namespace.offsets(topic, group).await?.into_iter().enumerate() {
                offsets.push(json!({
                    "consumer_group": group, "topic": topic.name, "partition": partition, "next_offset": next,
                }));
            }
        }
    }
    let mut file = file(folder, "bus").await?;
    let columns = ["topic", "partition", "offset", "key", "headers", "value"];
    fill(&mut file, "messages", &columns, Value::from(messages).to_string()).await?;
    let columns = ["topic", "partition", "next_offset"];
    fill(&mut file, "partitions", &columns, Value::from(partitions).to_string()).await?;
    let columns = ["consumer_group", "topic", "partition", "next_offset"];
    fill(&mut file, "group_offsets", &columns, Value::from(offsets).to_string()).await?;
    file.close().await?;
    Ok(())
}

async fn carts(namespace: &Namespace, folder: &Path) -> Result<()> {
    let carts = namespace.carts().await?.into_iter().map(|cart| {
        let document = serde_json::to_value(cart)?;
        Ok(json!({"user_id": document["_id"], "version": document["version"], "document": document}))
    });
    let carts = Value::from(carts.collect::<Result<Vec<_>>>()?).to_string();
    let mut file = file(folder, "cart").await?;
    fill(&mut file, "carts", &["user_id", "version", "document"], carts).await?;
    file.close().await?;
    Ok(())
}
