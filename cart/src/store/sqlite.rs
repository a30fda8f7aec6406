//! Carts in SQLite.

use std::path::Path;

use async_trait::async_trait;
use futures::FutureExt;
use runtime::CrashPoints;
use storage::{Migrations, OpenError, Sqlite, SqliteOptions, StoreError};

use crate::{
    document::CartDocument,
    domain::{Cart, UserId, Version},
    ports::{CartStore, Saved},
};

const MIGRATIONS: Migrations = Migrations(&[include_str!("../../migrations/sqlite/0001_init.sql")]);

/// One row a customer.
#[derive(Debug, Clone)]
pub struct SqliteCartStore {
    db: Sqlite,
}

impl SqliteCartStore {
    pub async fn open(path: &Path, crash: &CrashPoints) -> Result<Self, OpenError> {
        Ok(Self {
            db: Sqlite::open(SqliteOptions {
                path,
                migrations: MIGRATIONS,
                crash,
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
        let write = self.db.write("cart.save", move |tx| {
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

    async fn is_up(&self) -> bool {
        self.db.is_up().await
    }
}
