//! Notifications in PostgreSQL.

use async_trait::async_trait;
use futures::FutureExt;
use jiff::Timestamp;
use runtime::Points;
use sqlx::PgConnection;
use storage::{
    Cursor, Migrations, OpenError, Page, Postgres, PostgresAddress, PostgresOptions, Row, StoreError, timestamptz,
};
use uuid::Uuid;

use super::row::notification;
use crate::{
    commits,
    domain::{CheckoutId, Notification, UserId},
    ports::{NotificationStore, Recorded},
};

const MIGRATIONS: Migrations = Migrations(&[
    include_str!("../../migrations/postgres/0001_init.sql"),
    events::inbox::postgres::SCHEMA,
    include_str!("../../migrations/postgres/0002_erasure.sql"),
    events::inbox::postgres::BY_AGE,
]);

/// Inserts the inbox row and, if that is new and the checkout is not erased, the notification, in one statement.
const RECORD: &str = "
    WITH noted AS (
        INSERT INTO inbox (consumer_group, event_id, applied_at) VALUES ($1, $2, $3)
        ON CONFLICT DO NOTHING RETURNING event_id
    )
    INSERT INTO notifications (id, user_id, kind, checkout_id, text, created_at)
    SELECT event_id, $4, $5, $6, $7, $8 FROM noted
    WHERE NOT EXISTS (SELECT FROM erased_checkouts WHERE checkout_id = $6)
    ON CONFLICT DO NOTHING";
const REMEMBER_ERASED: &str =
    "INSERT INTO erased_checkouts SELECT id FROM unnest($1::uuid[]) id ORDER BY id ON CONFLICT DO NOTHING";
/// Waits for transactions that record notifications: the next statement sees them. Later ones see the erased checkouts.
const LOCK_NOTIFICATIONS: &str = "LOCK TABLE notifications IN SHARE ROW EXCLUSIVE MODE";
const ERASE: &str = "
    DELETE FROM notifications WHERE id IN (SELECT id FROM notifications WHERE user_id = $1 LIMIT $2)";
const PAGE: &str = "
    SELECT id, user_id, kind, checkout_id, text, created_at FROM notifications
    WHERE user_id = $1 AND (created_at, id) < ($2, $3) ORDER BY created_at DESC, id DESC LIMIT $4";

/// Notifications in one table, with the inbox of the consumer group.
#[derive(Debug, Clone)]
pub struct PostgresNotificationStore {
    db: Postgres,
}

impl PostgresNotificationStore {
    pub async fn open(address: &PostgresAddress, schema: &str, points: &Points) -> Result<Self, OpenError> {
        let options = PostgresOptions {
            address,
            schema,
            migrations: MIGRATIONS,
            points,
        };
        Ok(Self {
            db: Postgres::open(options).await?,
        })
    }

    /// The inbox in the same database.
    pub fn inbox(&self) -> events::PostgresInbox {
        events::PostgresInbox(self.db.clone())
    }
}

#[async_trait]
impl NotificationStore for PostgresNotificationStore {
    async fn record(&self, notification: &Notification, now: Timestamp) -> Result<Recorded, StoreError> {
        let notification = notification.clone();
        self.db
            .write(commits::RECORD, move |tx| record(tx, notification, now).boxed())
            .await
    }

    async fn list(&self, user: &UserId, after: Option<Cursor>, size: u32) -> Result<Page<Notification>, StoreError> {
        let Cursor { at, id } = after.unwrap_or(Cursor::FIRST_PAGE);
        let rows = sqlx::query(PAGE)
            .bind(user.as_str())
            .bind(timestamptz(at.max(Cursor::EARLIEST)))
            .bind(id)
            .bind(i64::from(size) + 1)
            .fetch_all(self.db.reader())
            .await?;
        let found = rows.iter().map(|row| notification(Row::Postgres(row)));
        Ok(Page::cut(found.collect::<Result<_, _>>()?, size, |last| Cursor {
            at: last.created_at,
            id: last.id.0,
        }))
    }

    async fn erase(&self, user: &UserId, checkouts: &[CheckoutId], limit: u32) -> Result<u64, StoreError> {
        let (user, checkouts) = (user.clone(), checkouts.to_vec());
        self.db
            .write(commits::ERASE, move |tx| erase(tx, user, checkouts, limit).boxed())
            .await
    }

    async fn is_up(&self) -> bool {
        self.db.is_up().await
    }

    fn transactions(&self) -> runtime::Tasks {
        self.db.transactions()
    }
}

async fn record(tx: &mut PgConnection, notification: Notification, now: Timestamp) -> Result<Recorded, StoreError> {
    let inserted = sqlx::query(RECORD)
        .bind(proto::events::NOTIFICATION_GROUP)
        .bind(notification.id.0)
        .bind(timestamptz(now))
        .bind(notification.user_id.into_string())
        .bind(notification.kind.as_str())
        .bind(notification.checkout_id.0)
        .bind(notification.text)
        .bind(timestamptz(notification.created_at))
        .execute(tx)
        .await?;
    Ok(if inserted.rows_affected() == 1 {
        Recorded::Created
    } else {
        Recorded::Skipped
    })
}

async fn erase(tx: &mut PgConnection, user: UserId, checkouts: Vec<CheckoutId>, limit: u32) -> Result<u64, StoreError> {
    let ids: Vec<Uuid> = checkouts.into_iter().map(|checkout| checkout.0).collect();
    sqlx::query(REMEMBER_ERASED).bind(ids).execute(&mut *tx).await?;
    sqlx::query(LOCK_NOTIFICATIONS).execute(&mut *tx).await?;
    let erased = sqlx::query(ERASE)
        .bind(user.into_string())
        .bind(i64::from(limit))
        .execute(tx)
        .await?;
    Ok(erased.rows_affected())
}
