//! Notifications in SQLite.

use std::path::Path;

use async_trait::async_trait;
use futures::FutureExt;
use jiff::Timestamp;
use runtime::Points;
use sqlx::SqliteConnection;
use storage::{Cursor, Migrations, OpenError, Page, Row, Sqlite, SqliteOptions, StoreError};

use super::row::notification;
use crate::{
    commits,
    domain::{CheckoutId, Notification, UserId},
    ports::{NotificationStore, Recorded},
};

const MIGRATIONS: Migrations = Migrations(&[
    include_str!("../../migrations/sqlite/0001_init.sql"),
    events::inbox::sqlite::SCHEMA,
    include_str!("../../migrations/sqlite/0002_erasure.sql"),
    events::inbox::sqlite::BY_AGE,
]);

const PAGE: &str = "SELECT id, user_id, kind, checkout_id, text, created_at FROM notifications
    WHERE user_id = ? AND (created_at, id) < (?, ?) ORDER BY created_at DESC, id DESC LIMIT ?";

const ERASE: &str =
    "DELETE FROM notifications WHERE rowid IN (SELECT rowid FROM notifications WHERE user_id = ? LIMIT ?)";

/// Notifications in one table, with the inbox of the consumer group.
#[derive(Debug, Clone)]
pub struct SqliteNotificationStore {
    db: Sqlite,
}

impl SqliteNotificationStore {
    pub async fn open(path: &Path, points: &Points) -> Result<Self, OpenError> {
        let db = Sqlite::open(SqliteOptions {
            path,
            migrations: MIGRATIONS,
            points,
        })
        .await?;
        Ok(Self { db })
    }

    /// The inbox in the same database.
    pub fn inbox(&self) -> events::SqliteInbox {
        events::SqliteInbox(self.db.clone())
    }
}

#[async_trait]
impl NotificationStore for SqliteNotificationStore {
    async fn record(&self, notification: &Notification, now: Timestamp) -> Result<Recorded, StoreError> {
        let notification = notification.clone();
        self.db
            .write(commits::RECORD, move |tx| record(tx, notification, now).boxed())
            .await
    }

    async fn list(&self, user: &UserId, after: Option<Cursor>, size: u32) -> Result<Page<Notification>, StoreError> {
        // UUIDs as lower-case text sort like the ids.
        let (at, id) = after.map_or((i64::MAX, String::new()), |c| (c.at.as_millisecond(), c.id.to_string()));
        let rows = sqlx::query(PAGE)
            .bind(user.as_str())
            .bind(at)
            .bind(id)
            .bind(i64::from(size) + 1)
            .fetch_all(self.db.reader())
            .await?;
        let found = rows.iter().map(|row| notification(Row::Sqlite(row)));
        Ok(Page::cut(found.collect::<Result<_, _>>()?, size, |last| Cursor {
            at: last.created_at,
            id: last.id.0,
        }))
    }

    async fn erase(&self, user: &UserId, checkouts: &[CheckoutId], limit: u32) -> Result<u64, StoreError> {
        let (user, checkouts) = (user.clone(), checkouts.to_vec());
        let write = self
            .db
            .write(commits::ERASE, move |tx| erase(tx, user, checkouts, limit).boxed());
        let erased = write.await?;
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

async fn record(tx: &mut SqliteConnection, notification: Notification, now: Timestamp) -> Result<Recorded, StoreError> {
    let Notification {
        id,
        user_id,
        kind,
        checkout_id,
        text,
        created_at,
    } = notification;
    if !events::inbox::sqlite::first_time(tx, proto::events::NOTIFICATION_GROUP, id.0, now).await? {
        return Ok(Recorded::Skipped);
    }
    let is_erased: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM erased_checkouts WHERE checkout_id = ?)")
        .bind(checkout_id.0.to_string())
        .fetch_one(&mut *tx)
        .await?;
    if is_erased {
        return Ok(Recorded::Skipped);
    }
    let inserted = sqlx::query(
        "INSERT INTO notifications (id, user_id, kind, checkout_id, text, created_at) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )
    .bind(id.0.to_string())
    .bind(user_id.into_string())
    .bind(kind.as_str())
    .bind(checkout_id.0.to_string())
    .bind(text)
    .bind(created_at.as_millisecond())
    .execute(tx)
    .await?;
    Ok(if inserted.rows_affected() == 1 {
        Recorded::Created
    } else {
        Recorded::Skipped
    })
}

async fn erase(
    tx: &mut SqliteConnection,
    user: UserId,
    checkouts: Vec<CheckoutId>,
    limit: u32,
) -> Result<u64, StoreError> {
    let ids: Vec<_> = checkouts.into_iter().map(|checkout| checkout.0).collect();
    sqlx::query("INSERT INTO erased_checkouts SELECT value FROM json_each(?) WHERE true ON CONFLICT DO NOTHING")
        .bind(serde_json::json!(ids).to_string())
        .execute(&mut *tx)
        .await?;
    let erased = sqlx::query(ERASE)
        .bind(user.into_string())
        .bind(limit)
        .execute(tx)
        .await?;
    Ok(erased.rows_affected())
}

#[cfg(test)]
mod tests {
    use sqlx::Row as _;

    use super::*;

    #[tokio::test]
    async fn a_page_and_an_erasure_use_the_index() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notification.db");
        let store = SqliteNotificationStore::open(&path, &Points::none()).await.unwrap();
        let explain = sqlx::query(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {PAGE}")));
        let explain = explain.bind("u").bind(i64::MAX).bind("").bind(21);
        let plan = explain.fetch_all(store.db.reader()).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
        let index = "SEARCH notifications USING INDEX notifications_of_user (user_id=? AND (created_at,id)<(?,?))";
        assert_eq!(plan, [index], "no scan and no sort");
        let explain = sqlx::query(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {ERASE}")));
        let plan = explain.bind("u").bind(1).fetch_all(store.db.reader()).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
        assert!(
            !plan.iter().any(|step| step.starts_with("SCAN notifications")),
            "{plan:?}"
        );
    }
}
