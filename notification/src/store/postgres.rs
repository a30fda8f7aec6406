//! Notifications in PostgreSQL.

use async_trait::async_trait;
use futures::FutureExt;
use jiff::Timestamp;
use runtime::Points;
use sqlx::{PgConnection, Row, postgres::PgRow};
use storage::{
    Cursor, Migrations, OpenError, Page, Postgres, PostgresAddress, PostgresOptions, SqlTimestamp, StoreError,
    timestamptz,
};
use uuid::Uuid;

use crate::{
    commits,
    domain::{CheckoutId, Kind, Notification, NotificationId, UserId},
    ports::{NotificationStore, Told},
};

const MIGRATIONS: Migrations = Migrations(&[
    include_str!("../../migrations/postgres/0001_init.sql"),
    events::inbox::postgres::SCHEMA,
    include_str!("../../migrations/postgres/0002_erasure.sql"),
    events::inbox::postgres::BY_AGE,
]);

/// In front of the newest notification that there can be.
const FIRST: Cursor = Cursor {
    at: Timestamp::MAX,
    id: Uuid::max(),
};
/// The earliest time that PostgreSQL has.
const EARLIEST: Timestamp = Timestamp::constant(-210_866_803_200, 0);

/// The note that the event was applied, and only if that is new and the customer was not erased, the notification: in one
/// statement.
const TELL: &str = "
    WITH noted AS (
        INSERT INTO inbox (consumer_group, event_id, applied_at) VALUES ($1, $2, $3)
        ON CONFLICT DO NOTHING RETURNING event_id
    )
    INSERT INTO notifications (id, user_id, kind, checkout_id, text, created_at)
    SELECT event_id, $4, $5, $6, $7, $8 FROM noted
    WHERE NOT EXISTS (SELECT FROM erased_checkouts WHERE checkout_id = $6)
    ON CONFLICT DO NOTHING";
const FORGET: &str =
    "INSERT INTO erased_checkouts SELECT id FROM unnest($1::uuid[]) id ORDER BY id ON CONFLICT DO NOTHING";
/// What is being told at this moment was told before the next statement; what comes later sees who is forgotten.
const WAIT_FOR_TELLERS: &str = "LOCK TABLE notifications IN SHARE ROW EXCLUSIVE MODE";
const ERASE: &str = "
    DELETE FROM notifications WHERE id IN (SELECT id FROM notifications WHERE user_id = $1 LIMIT $2)";
const PAGE: &str = "
    SELECT id, user_id, kind, checkout_id, text, created_at FROM notifications
    WHERE user_id = $1 AND (created_at, id) < ($2, $3) ORDER BY created_at DESC, id DESC LIMIT $4";

/// Notifications in one table, with the inbox of the group beside it.
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

    /// The inbox beside it.
    pub fn inbox(&self) -> events::PostgresInbox {
        events::PostgresInbox(self.db.clone())
    }
}

#[async_trait]
impl NotificationStore for PostgresNotificationStore {
    async fn tell(&self, notification: &Notification, now: Timestamp) -> Result<Told, StoreError> {
        let notification = notification.clone();
        self.db
            .write(commits::TELL, move |tx| tell(tx, notification, now).boxed())
            .await
    }

    async fn list(&self, user: &UserId, after: Option<Cursor>, size: u32) -> Result<Page<Notification>, StoreError> {
        let Cursor { at, id } = after.unwrap_or(FIRST);
        let rows = sqlx::query(PAGE)
            .bind(user.as_str())
            .bind(timestamptz(at.max(EARLIEST)))
            .bind(id)
            .bind(i64::from(size) + 1)
            .fetch_all(self.db.reader())
            .await?;
        let rows = rows.iter().map(notification).collect::<Result<Vec<_>, _>>()?;
        Ok(Page::cut(rows, size, |row| Cursor {
            at: row.created_at,
            id: row.id.0,
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

async fn tell(tx: &mut PgConnection, notification: Notification, now: Timestamp) -> Result<Told, StoreError> {
    let told = sqlx::query(TELL)
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
    Ok(if told.rows_affected() == 1 {
        Told::Now
    } else {
        Told::Before
    })
}

async fn erase(tx: &mut PgConnection, user: UserId, checkouts: Vec<CheckoutId>, limit: u32) -> Result<u64, StoreError> {
    let ids: Vec<Uuid> = checkouts.into_iter().map(|checkout| checkout.0).collect();
    sqlx::query(FORGET).bind(ids).execute(&mut *tx).await?;
    sqlx::query(WAIT_FOR_TELLERS).execute(&mut *tx).await?;
    let erased = sqlx::query(ERASE)
        .bind(user.into_string())
        .bind(i64::from(limit))
        .execute(tx)
        .await?;
    Ok(erased.rows_affected())
}

fn notification(row: &PgRow) -> Result<Notification, StoreError> {
    let kind: &str = row.try_get("kind")?;
    let created_at: SqlTimestamp = row.try_get("created_at")?;
    Ok(Notification {
        id: NotificationId(row.try_get("id")?),
        user_id: UserId::stored(row.try_get("user_id")?),
        kind: Kind::parse(kind).ok_or_else(|| StoreError::corrupt(format!("there is no kind {kind}")))?,
        checkout_id: CheckoutId(row.try_get("checkout_id")?),
        text: row.try_get("text")?,
        created_at: created_at.to_jiff(),
    })
}
