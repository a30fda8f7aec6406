//! Carts in SQLite.

use std::path::Path;

use async_trait::async_trait;
use futures::FutureExt;
use jiff::Timestamp;
use runtime::Points;
use storage::{Migrations, OpenError, Sqlite, SqliteOptions, StoreError};

use crate::{
    commits,
    document::CartDocument,
    domain::{CART_TTL, Cart, UserId, Version},
    ports::{CartExpiry, CartStore, Saved},
};

const MIGRATIONS: Migrations = Migrations(&[
    include_str!("../../migrations/sqlite/0001_init.sql"),
    include_str!("../../migrations/sqlite/0002_expiry.sql"),
]);

/// Carts deleted by one statement, at most.
const BATCH_SIZE: i64 = 500;

/// Finds expired carts by their index. Carts with holds have no `updated_at` at the top level and stay. `?1` is this
/// machine's time, `?2` the TTL, both in milliseconds.
macro_rules! is_expired {
    () => {
        "iif(json_valid(document), json_extract(document, '$.updated_at'), NULL)
            < min(?1, CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER)) - ?2"
    };
}

const HAS_EXPIRED: &str = concat!("SELECT EXISTS (SELECT 1 FROM carts WHERE ", is_expired!(), ")");
const DELETE_EXPIRED: &str = concat!(
    "DELETE FROM carts WHERE rowid IN (SELECT rowid FROM carts WHERE ",
    is_expired!(),
    " LIMIT ?3)"
);

/// One row for each customer.
#[derive(Debug, Clone)]
pub struct SqliteCartStore {
    db: Sqlite,
}

impl SqliteCartStore {
    pub async fn open(path: &Path, points: &Points) -> Result<Self, OpenError> {
        Ok(Self {
            db: Sqlite::open(SqliteOptions {
                path,
                migrations: MIGRATIONS,
                points,
            })
            .await?,
        })
    }
}

#[async_trait]
impl CartStore for SqliteCartStore {
    async fn load(&self, user: &UserId) -> Result<Option<Cart>, StoreError> {
        let json: Option<String> = sqlx::query_scalar("SELECT document FROM carts WHERE user_id = ?")
            .bind(user.as_str())
            .fetch_optional(self.db.reader())
            .await?;
        let Some(json) = json else { return Ok(None) };
        let document: CartDocument = serde_json::from_str(&json).map_err(StoreError::corrupt)?;
        document.into_cart(user).map(Some).map_err(StoreError::corrupt)
    }

    async fn save(&self, cart: &Cart, expected: Option<Version>) -> Result<Saved, StoreError> {
        let document = CartDocument::try_from(cart).map_err(StoreError::corrupt)?;
        let json = serde_json::to_string(&document).map_err(StoreError::corrupt)?;
        let CartDocument {
            user, cart_id, version, ..
        } = document;
        let updated_at = cart.updated_at.map(jiff::Timestamp::as_millisecond);
        let write = self.db.write(commits::SAVE, move |tx| {
            async move {
                let query = match expected {
                    None => sqlx::query(
                        "INSERT INTO carts (cart_id, version, document, updated_at, user_id) VALUES (?, ?, ?, ?, ?)
                         ON CONFLICT DO NOTHING",
                    ),
                    Some(_) => sqlx::query(
                        "UPDATE carts SET cart_id = ?, version = ?, document = ?, updated_at = ?
                         WHERE user_id = ? AND version = ?",
                    ),
                };
                let query = query
                    .bind(cart_id.to_string())
                    .bind(version)
                    .bind(json)
                    .bind(updated_at)
                    .bind(user);
                let query = match expected {
                    None => query,
                    Some(Version(expected)) => query.bind(expected),
                };
                let rows = query.execute(tx).await?.rows_affected();
                Ok(if rows == 1 { Saved::Done } else { Saved::Conflict })
            }
            .boxed()
        });
        write.await
    }

    async fn erase(&self, user: &UserId) -> Result<bool, StoreError> {
        let user = user.as_str().to_owned();
        let erase = self.db.write(commits::ERASE, move |tx| {
            async move {
                let erase = sqlx::query("DELETE FROM carts WHERE user_id = ?").bind(user);
                Ok(erase.execute(tx).await?.rows_affected() == 1)
            }
            .boxed()
        });
        let erased = erase.await?;
        self.db.scrub().await?;
        Ok(erased)
    }

    async fn is_up(&self) -> bool {
        self.db.is_up().await
    }

    fn transactions(&self) -> runtime::Tasks {
        self.db.transactions()
    }
}

#[async_trait]
impl CartExpiry for SqliteCartStore {
    async fn delete_expired_batch(&self, now: Timestamp) -> Result<u64, StoreError> {
        let now = now.as_millisecond();
        let ttl = i64::try_from(CART_TTL.as_millis()).unwrap_or(i64::MAX);
        // A read first: usually nothing has expired, and no write is needed.
        let has_expired: bool = sqlx::query_scalar(HAS_EXPIRED)
            .bind(now)
            .bind(ttl)
            .fetch_one(self.db.reader())
            .await?;
        if !has_expired {
            return Ok(0);
        }
        let delete = self.db.write(commits::EXPIRE, move |tx| {
            async move {
                let delete = sqlx::query(DELETE_EXPIRED).bind(now).bind(ttl).bind(BATCH_SIZE);
                Ok(delete.execute(tx).await?.rows_affected())
            }
            .boxed()
        });
        delete.await
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Row;

    use super::*;

    #[tokio::test]
    async fn expired_carts_are_found_by_their_index() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cart.db");
        let store = SqliteCartStore::open(&path, &Points::none()).await.unwrap();
        for sql in [HAS_EXPIRED, DELETE_EXPIRED] {
            let plan = sqlx::query(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")));
            let plan = plan.fetch_all(store.db.reader()).await.unwrap();
            let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
            assert!(
                plan.iter().any(|step| step.contains("carts_by_age (<expr><?)")),
                "{plan:?}"
            );
        }
    }
}
