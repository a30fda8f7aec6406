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
    domain::{Cart, LIFETIME, UserId, Version},
    ports::{CartStore, OldCarts, Saved},
};

const MIGRATIONS: Migrations = Migrations(&[
    include_str!("../../migrations/sqlite/0001_init.sql"),
    include_str!("../../migrations/sqlite/0002_expiry.sql"),
]);

/// Carts that are dropped by one statement, at most.
const BATCH: i64 = 500;

/// Finds old carts, by their index: a cart with holds has no time where this looks for it. `?1`: the time here. `?2`: how long
/// a cart lives. Both in milliseconds.
macro_rules! is_old {
    () => {
        "iif(json_valid(document), json_extract(document, '$.updated_at'), NULL)
            < min(?1, CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER)) - ?2"
    };
}

const ANY_OLD: &str = concat!("SELECT EXISTS (SELECT 1 FROM carts WHERE ", is_old!(), ")");
const DROP_OLD: &str = concat!(
    "DELETE FROM carts WHERE rowid IN (SELECT rowid FROM carts WHERE ",
    is_old!(),
    " LIMIT ?3)"
);

/// One row a customer.
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
        document.cart_of(user).map(Some).map_err(StoreError::corrupt)
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
impl OldCarts for SqliteCartStore {
    async fn drop_some(&self, now: Timestamp) -> Result<u64, StoreError> {
        let now = now.as_millisecond();
        let lifetime = i64::try_from(LIFETIME.as_millis()).unwrap_or(i64::MAX);
        // Mostly there are none: look before a write is made of it.
        let any: bool = sqlx::query_scalar(ANY_OLD)
            .bind(now)
            .bind(lifetime)
            .fetch_one(self.db.reader())
            .await?;
        if !any {
            return Ok(0);
        }
        let drop = self.db.write(commits::EXPIRE, move |tx| {
            async move {
                let drop = sqlx::query(DROP_OLD).bind(now).bind(lifetime).bind(BATCH);
                Ok(drop.execute(tx).await?.rows_affected())
            }
            .boxed()
        });
        drop.await
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Row;

    use super::*;

    #[tokio::test]
    async fn old_carts_are_found_by_their_index() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cart.db");
        let store = SqliteCartStore::open(&path, &Points::none()).await.unwrap();
        for sql in [ANY_OLD, DROP_OLD] {
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
