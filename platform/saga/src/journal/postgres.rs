//! The journal in PostgreSQL, with the outbox in the same schema, for any number of processes at once.

mod statements;

use std::{marker::PhantomData, sync::Arc, time::Duration};

use async_trait::async_trait;
use events::outbox;
use futures::FutureExt;
use sqlx::{
    AssertSqlSafe, PgConnection,
    postgres::{PgRow, types::PgInterval},
};
use storage::{Postgres, Row, StoreError, Transaction, timestamptz};
use uuid::Uuid;

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
pub const SCHEMA: &str = include_str!("../../migrations/postgres/signals.sql");

/// The journal of one kind of saga. Clones share the connection pools.
#[derive(Clone)]
pub struct PostgresJournal<M: Machine> {
    db: Postgres,
    sql: Arc<Statements>,
    service_rows: Option<Arc<dyn ServiceRows<M>>>,
    kind: PhantomData<fn() -> M>,
}

impl<M: Machine> PostgresJournal<M> {
    pub fn new(db: Postgres) -> Self {
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
        db: impl sqlx::PgExecutor<'_>,
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
        tx: &mut PgConnection,
        (new, key): (Saga<M>, String),
        lease: Lease,
    ) -> Result<Begun<M>, StoreError> {
        if let Some(rows) = &self.service_rows {
            if let Some(known) = self.find_in(&mut *tx, &new.scope, &key).await? {
                return Ok(Begun::Exists(Box::new(known)));
            }
            if !rows.begin(Transaction::Postgres(&mut *tx), &new).await? {
                // The rows may refuse because a concurrent request with this key has begun its saga meanwhile.
                let known = self.find_in(&mut *tx, &new.scope, &key).await?;
                return Ok(known.map_or(Begun::Refused, |known| Begun::Exists(Box::new(known))));
            }
        }
        let mut insert = sqlx::query(AssertSqlSafe(self.sql.insert.clone()));
        for value in row::insert_values(&new, &key, &lease)? {
            insert = value.bind_to_postgres(insert);
        }
        let insert = insert.bind(interval(lease.ttl)).bind(row::first_detail(&new));
        if let Some(begun) = insert.fetch_optional(&mut *tx).await? {
            return Ok(Begun::Created(Fence(Row::Postgres(&begun).integer("fence")?)));
        }
        if self.service_rows.is_some() {
            // A concurrent transaction took the key. The error rolls back the changes of the service's rows.
            return Err(StoreError::Conflict);
        }
        // The insert waited for the transaction that took the key. Its snapshot is older than that commit, so a new
        // statement is needed to read the row.
        let known = self.find_in(&mut *tx, &new.scope, &key).await?;
        Ok(Begun::Exists(Box::new(known.ok_or(StoreError::Conflict)?)))
    }

    async fn write_record(
        self,
        tx: &mut PgConnection,
        claimed: Claimed<M>,
        record: Record<M>,
        lease: Lease,
    ) -> Result<i64, StoreError> {
        let before = &claimed.saga;
        let changes = Changes::of(&record, before, &lease)?;
        let states: Vec<_> = record.steps.iter().map(|(state, ..)| state.name()).collect();
        let times: Vec<_> = record.steps.iter().map(|(_, at, _)| timestamptz(*at)).collect();
        let details: Vec<_> = record.steps.iter().map(|(.., detail)| detail.as_str()).collect();
        let sql = match changes.wakeup {
            Wakeup::Owned { .. } => &self.sql.record,
            Wakeup::Unowned(_) => &self.sql.wait,
        };
        let mut update = sqlx::query(AssertSqlSafe(sql.clone()))
            .bind(before.id.0)
            .bind(before.version)
            .bind(claimed.fence.0)
            .bind(i64::try_from(record.read_signals.len()).map_err(StoreError::corrupt)?)
            .bind(states)
            .bind(times)
            .bind(details)
            .bind(&record.read_signals);
        update = match changes.wakeup {
            Wakeup::Owned { wake_in, lease_for } => update.bind(interval(wake_in)).bind(interval(lease_for)),
            Wakeup::Unowned(until) => update.bind(timestamptz(until)).bind(timestamptz(until)),
        };
        for value in changes.values {
            update = value.bind_to_postgres(update);
        }
        if update.fetch_optional(&mut *tx).await?.is_none() {
            return Err(StoreError::Conflict);
        }
        if let Some(rows) = &self.service_rows
            && !record.steps.is_empty()
        {
            rows.record(Transaction::Postgres(&mut *tx), before, &record).await?;
        }
        if let Some((topic, event)) = &record.event {
            outbox::postgres::append(tx, topic, event).await?;
        }
        Ok(changes.version)
    }

    async fn claim(self, tx: &mut PgConnection, lease: Lease, limit: u32) -> Result<Vec<Claimed<M>>, StoreError> {
        let rows = sqlx::query(AssertSqlSafe(self.sql.claim.clone()))
            .bind(lease.owner)
            .bind(interval(lease.ttl))
            .bind(i64::from(limit))
            .bind(i64::from(M::VERSION))
            .fetch_all(tx)
            .await?;
        let claimed = rows
            .iter()
            .filter_map(|row| row::claimed(Row::Postgres(row)).transpose());
        claimed.collect()
    }
}

#[async_trait]
impl<M: Machine> Journal<M> for PostgresJournal<M> {
    async fn begin(&self, new: &Saga<M>, key: &str, lease: &Lease) -> Result<Begun<M>, StoreError> {
        let label = new.state.commit_label();
        let (this, with_key, lease) = (self.clone(), (new.clone(), key.to_owned()), lease.clone());
        let write = self.db.write(label, move |tx| this.insert(tx, with_key, lease).boxed());
        match write.await {
            Err(StoreError::Conflict) => {
                let known = self.find(&new.scope, key).await?;
                Ok(Begun::Exists(Box::new(known.ok_or(StoreError::Conflict)?)))
            }
            begun => begun,
        }
    }

    async fn find(&self, scope: &str, key: &str) -> Result<Option<Saga<M>>, StoreError> {
        self.find_in(self.db.reader(), scope, key).await
    }

    async fn get(&self, id: SagaId, scope: Option<&str>) -> Result<Option<(Saga<M>, Vec<Entry>)>, StoreError> {
        let rows = sqlx::query(AssertSqlSafe(self.sql.get.clone()))
            .bind(id.0)
            .bind(scope)
            .fetch_all(self.db.reader())
            .await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let entries = rows.iter().map(|row| row::entry(Row::Postgres(row)));
        Ok(Some((saga(first)?, entries.collect::<Result<_, _>>()?)))
    }

    async fn list(&self, filter: Filter) -> Result<Vec<Saga<M>>, StoreError> {
        // Ids are UUIDv7, so this is the order of creation. The filter is part of the SQL text, so that each status
        // gets its own plan: some statuses are rare, and one is that of nearly all rows.
        let status = filter.status.map(|status| format!(" AND status = '{status}'"));
        let attention = filter.needs_attention.then_some(" AND needs_attention");
        let sql: Arc<str> = format!(
            "SELECT {columns} FROM {name} WHERE id > $1{status}{attention} ORDER BY id LIMIT $2",
            columns = row::columns(&M::TABLE),
            name = M::TABLE.name,
            status = status.unwrap_or_default(),
            attention = attention.unwrap_or_default(),
        )
        .into();
        let limit = usize::try_from(filter.limit).map_err(StoreError::corrupt)?;
        let mut after = filter.after.map_or(Uuid::nil(), |id| id.0);
        let mut found = Vec::new();
        loop {
            let rows = sqlx::query(AssertSqlSafe(sql.clone()))
                .bind(after)
                .bind(i64::from(filter.limit))
                .fetch_all(self.db.reader())
                .await?;
            // Corrupt rows are skipped, so the page is filled from the next rows.
            found.extend(rows.iter().filter_map(|row| row::readable(saga(row))));
            match rows.last() {
                Some(last) if rows.len() == limit && found.len() < limit => after = Row::Postgres(last).uuid("id")?,
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
        let is_due: bool = sqlx::query_scalar(AssertSqlSafe(self.sql.due.clone()))
            .bind(i64::from(M::VERSION))
            .fetch_one(self.db.reader())
            .await?;
        if !is_due {
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
impl<M: Machine> Signals for PostgresJournal<M> {
    async fn send(&self, to: SagaId, signal: &Signal) -> Result<SignalOutcome, StoreError> {
        let (sql, signal) = (self.sql.send.clone(), signal.clone());
        let write = self.db.write(M::COMMITS.signal, move |tx| {
            async move {
                let is_final: Option<bool> = sqlx::query_scalar(AssertSqlSafe(sql))
                    .bind(to.0)
                    .bind(signal.id)
                    .bind(signal.name)
                    .bind(signal.payload)
                    .fetch_optional(tx)
                    .await?;
                Ok(match is_final {
                    None => SignalOutcome::NotFound,
                    Some(true) => SignalOutcome::Final,
                    Some(false) => SignalOutcome::Sent,
                })
            }
            .boxed()
        });
        write.await
    }

    async fn unread(&self, of: SagaId) -> Result<Vec<Signal>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, name, payload FROM saga_signals WHERE saga_id = $1 AND read_at IS NULL ORDER BY sent_at, id",
        )
        .bind(of.0)
        .fetch_all(self.db.reader())
        .await?;
        rows.iter().map(|row| row::signal(Row::Postgres(row))).collect()
    }
}

fn saga<M: Machine>(row: &PgRow) -> Result<Saga<M>, StoreError> {
    row::saga(Row::Postgres(row))
}

/// Longer durations than a century are cut to one.
fn interval(duration: Duration) -> PgInterval {
    const CENTURY: i64 = 100 * 365 * 24 * 3600 * 1_000_000;
    PgInterval {
        months: 0,
        days: 0,
        microseconds: i64::try_from(duration.as_micros()).map_or(CENTURY, |micros| micros.min(CENTURY)),
    }
}
