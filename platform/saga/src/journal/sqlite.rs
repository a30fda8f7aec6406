//! The journal in SQLite, with the outbox in the same file.

mod statements;

use std::{marker::PhantomData, sync::Arc, time::Duration};

use async_trait::async_trait;
use events::outbox;
use futures::FutureExt;
use jiff::Timestamp;
use serde_json::json;
use sqlx::{AssertSqlSafe, SqliteConnection, sqlite::SqliteRow};
use storage::{Row, Sqlite, StoreError, Transaction};

use super::{
    Begun, Claimed, Filter, Journal, Lease, Record, ServiceRows, SignalOutcome, Signals,
    row::{self, Changes, Wakeup},
};
use crate::{
    machine::{Machine, State},
    saga::{Entry, Fence, Saga, SagaId, Signal},
};
use statements::Statements;

/// The table of signals, a migration for every service with sagas.
pub const SCHEMA: &str = include_str!("../../migrations/sqlite/signals.sql");

/// The journal of one kind of saga. Clones share the database.
#[derive(Clone)]
pub struct SqliteJournal<M: Machine> {
    db: Sqlite,
    sql: Arc<Statements>,
    service_rows: Option<Arc<dyn ServiceRows<M>>>,
    kind: PhantomData<fn() -> M>,
}

impl<M: Machine> SqliteJournal<M> {
    pub fn new(db: Sqlite) -> Self {
        Self {
            db,
            sql: Arc::new(Statements::of::<M>()),
            service_rows: None,
            kind: PhantomData,
        }
    }

    /// Makes rows of the service change in the transactions of its sagas.
    #[must_use]
    pub fn with_service_rows(mut self, rows: Arc<dyn ServiceRows<M>>) -> Self {
        self.service_rows = Some(rows);
        self
    }

    async fn find_in(
        &self,
        db: impl sqlx::SqliteExecutor<'_>,
        scope: &str,
        key: &str,
    ) -> Result<Option<Saga<M>>, StoreError> {
        let row = sqlx::query(AssertSqlSafe(self.sql.find.clone()))
            .bind(scope)
            .bind(key)
            .fetch_optional(db)
            .await?;
        row.as_ref().map(saga).transpose()
    }

    async fn insert(
        self,
        tx: &mut SqliteConnection,
        (new, key): (Saga<M>, String),
        lease: Lease,
    ) -> Result<Begun<M>, StoreError> {
        if let Some(known) = self.find_in(&mut *tx, &new.scope, &key).await? {
            return Ok(Begun::Exists(Box::new(known)));
        }
        if let Some(rows) = &self.service_rows
            && !rows.begin(Transaction::Sqlite(&mut *tx), &new).await?
        {
            return Ok(Begun::Refused);
        }
        let mut insert = sqlx::query(AssertSqlSafe(self.sql.insert.clone()));
        for value in row::insert_values(&new, &key, &lease)? {
            insert = value.bind_to_sqlite(insert);
        }
        insert.bind(millis(lease.ttl)).execute(&mut *tx).await?;
        let first = (&new.state, new.created_at, row::first_detail(&new));
        self.insert_step(tx, new.id, new.version, (first.0, first.1, &first.2))
            .await?;
        Ok(Begun::Created(Fence(1)))
    }

    async fn insert_step(
        &self,
        tx: &mut SqliteConnection,
        id: SagaId,
        version: i64,
        (state, at, detail): (&M::State, Timestamp, &str),
    ) -> Result<(), StoreError> {
        sqlx::query(AssertSqlSafe(self.sql.step.clone()))
            .bind(id.to_string())
            .bind(version)
            .bind(state.name())
            .bind(at.as_millisecond())
            .bind(detail)
            .execute(tx)
            .await?;
        Ok(())
    }

    async fn write_record(
        self,
        tx: &mut SqliteConnection,
        claimed: Claimed<M>,
        record: Record<M>,
        lease: Lease,
    ) -> Result<i64, StoreError> {
        let before = &claimed.saga;
        let changes = Changes::of(&record, before, &lease)?;
        let read_signals = i64::try_from(record.read_signals.len()).map_err(StoreError::corrupt)?;
        let (sql, wake_at, lease_until) = match changes.wakeup {
            Wakeup::Owned { wake_in, lease_for } => (&self.sql.record, millis(wake_in), millis(lease_for)),
            Wakeup::Unowned(until) => (&self.sql.wait, until.as_millisecond(), until.as_millisecond()),
        };
        let mut update = sqlx::query(AssertSqlSafe(sql.clone()));
        for value in changes.values {
            update = value.bind_to_sqlite(update);
        }
        update = update.bind(read_signals).bind(wake_at).bind(lease_until);
        update = update
            .bind(before.id.to_string())
            .bind(before.version)
            .bind(claimed.fence.0);
        if let Wakeup::Unowned(_) = changes.wakeup {
            update = update.bind(read_signals);
        }
        if update.execute(&mut *tx).await?.rows_affected() == 0 {
            return Err(StoreError::Conflict);
        }
        for (version, (state, at, detail)) in (before.version + 1..).zip(&record.steps) {
            self.insert_step(&mut *tx, before.id, version, (state, *at, detail))
                .await?;
        }
        if !record.read_signals.is_empty() {
            let ids: Vec<_> = record.read_signals.iter().map(ToString::to_string).collect();
            sqlx::query(
                "UPDATE saga_signals SET read_at = CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER)
                 WHERE saga_id = ? AND id IN (SELECT value FROM json_each(?))",
            )
            .bind(before.id.to_string())
            .bind(json!(ids).to_string())
            .execute(&mut *tx)
            .await?;
        }
        if let Some(rows) = &self.service_rows
            && !record.steps.is_empty()
        {
            rows.record(Transaction::Sqlite(&mut *tx), before, &record).await?;
        }
        if let Some((topic, event)) = &record.event {
            outbox::sqlite::append(tx, topic, event).await?;
        }
        Ok(changes.version)
    }

    async fn claim(self, tx: &mut SqliteConnection, lease: Lease, limit: u32) -> Result<Vec<Claimed<M>>, StoreError> {
        let rows = sqlx::query(AssertSqlSafe(self.sql.claim.clone()))
            .bind(lease.owner)
            .bind(millis(lease.ttl))
            .bind(M::VERSION)
            .bind(limit)
            .fetch_all(tx)
            .await?;
        let claimed = rows.iter().filter_map(|row| row::claimed(Row::Sqlite(row)).transpose());
        claimed.collect()
    }

    async fn put_signal(
        self,
        tx: &mut SqliteConnection,
        to: SagaId,
        signal: Signal,
    ) -> Result<SignalOutcome, StoreError> {
        let is_final: Option<bool> = sqlx::query_scalar(AssertSqlSafe(self.sql.is_final.clone()))
            .bind(to.to_string())
            .fetch_optional(&mut *tx)
            .await?;
        match is_final {
            None => return Ok(SignalOutcome::NotFound),
            Some(true) => return Ok(SignalOutcome::Final),
            Some(false) => {}
        }
        let put = sqlx::query(
            "INSERT INTO saga_signals (saga_id, id, name, payload, sent_at)
             VALUES (?, ?, ?, ?, CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER)) ON CONFLICT DO NOTHING",
        )
        .bind(to.to_string())
        .bind(signal.id.to_string())
        .bind(signal.name)
        .bind(signal.payload)
        .execute(&mut *tx)
        .await?;
        if put.rows_affected() > 0 {
            sqlx::query(AssertSqlSafe(self.sql.wake.clone()))
                .bind(to.to_string())
                .execute(tx)
                .await?;
        }
        Ok(SignalOutcome::Sent)
    }
}

#[async_trait]
impl<M: Machine> Journal<M> for SqliteJournal<M> {
    async fn begin(&self, new: &Saga<M>, key: &str, lease: &Lease) -> Result<Begun<M>, StoreError> {
        let label = new.state.commit_label();
        let (this, new, lease) = (self.clone(), (new.clone(), key.to_owned()), lease.clone());
        self.db
            .write(label, move |tx| this.insert(tx, new, lease).boxed())
            .await
    }

    async fn find(&self, scope: &str, key: &str) -> Result<Option<Saga<M>>, StoreError> {
        self.find_in(self.db.reader(), scope, key).await
    }

    async fn get(&self, id: SagaId, scope: Option<&str>) -> Result<Option<(Saga<M>, Vec<Entry>)>, StoreError> {
        // Both reads see one snapshot.
        let mut tx = self.db.reader().begin().await?;
        let row = sqlx::query(AssertSqlSafe(self.sql.get.clone()))
            .bind(id.to_string())
            .bind(scope)
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let history = sqlx::query(AssertSqlSafe(self.sql.history.clone()))
            .bind(id.to_string())
            .fetch_all(&mut *tx)
            .await?;
        let entries = history.iter().map(|row| row::entry(Row::Sqlite(row)));
        Ok(Some((saga(&row)?, entries.collect::<Result<_, _>>()?)))
    }

    async fn list(&self, filter: Filter) -> Result<Vec<Saga<M>>, StoreError> {
        let limit = usize::try_from(filter.limit).map_err(StoreError::corrupt)?;
        let mut after = filter.after.map(|id| id.to_string()).unwrap_or_default();
        let mut found = Vec::new();
        loop {
            let rows = sqlx::query(AssertSqlSafe(self.sql.list.clone()))
                .bind(&after)
                .bind(filter.status)
                .bind(filter.needs_attention)
                .bind(filter.limit)
                .fetch_all(self.db.reader())
                .await?;
            // Corrupt rows are skipped, so the page is filled from the next rows.
            found.extend(rows.iter().filter_map(|row| row::readable(saga(row))));
            match rows.last() {
                Some(last) if rows.len() == limit && found.len() < limit => {
                    after = Row::Sqlite(last).uuid("id")?.to_string();
                }
                Some(_) | None => break,
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    async fn record(&self, claimed: &Claimed<M>, record: &Record<M>, lease: &Lease) -> Result<i64, StoreError> {
        let label = row::label(record);
        let (this, claimed, record, lease) = (self.clone(), claimed.clone(), record.clone(), lease.clone());
        self.db
            .write(label, move |tx| this.write_record(tx, claimed, record, lease).boxed())
            .await
    }

    async fn claim_due(&self, lease: &Lease, limit: u32) -> Result<Vec<Claimed<M>>, StoreError> {
        // Usually nothing is due, and a read is cheaper than a write transaction.
        let due: Option<i64> = sqlx::query_scalar(AssertSqlSafe(self.sql.due.clone()))
            .bind(M::VERSION)
            .fetch_optional(self.db.reader())
            .await?;
        if due.is_none() {
            return Ok(Vec::new());
        }
        let (this, lease) = (self.clone(), lease.clone());
        self.db
            .write(M::COMMITS.claim, move |tx| this.claim(tx, lease, limit).boxed())
            .await
    }

    async fn release_all(&self, owner: &str) -> Result<(), StoreError> {
        let (sql, owner) = (self.sql.release_all.clone(), owner.to_owned());
        let write = self.db.write(M::COMMITS.release_leases, move |tx| {
            async move {
                sqlx::query(AssertSqlSafe(sql)).bind(owner).execute(tx).await?;
                Ok(())
            }
            .boxed()
        });
        write.await
    }
}

#[async_trait]
impl<M: Machine> Signals for SqliteJournal<M> {
    async fn send(&self, to: SagaId, signal: &Signal) -> Result<SignalOutcome, StoreError> {
        let (this, signal) = (self.clone(), signal.clone());
        self.db
            .write(M::COMMITS.signal, move |tx| this.put_signal(tx, to, signal).boxed())
            .await
    }

    async fn unread(&self, of: SagaId) -> Result<Vec<Signal>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, name, payload FROM saga_signals WHERE saga_id = ? AND read_at IS NULL ORDER BY sent_at, id",
        )
        .bind(of.to_string())
        .fetch_all(self.db.reader())
        .await?;
        rows.iter().map(|row| row::signal(Row::Sqlite(row))).collect()
    }
}

fn saga<M: Machine>(row: &SqliteRow) -> Result<Saga<M>, StoreError> {
    row::saga(Row::Sqlite(row))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}
