//! The rows of a journal, in any database.

use std::time::Duration;

use jiff::Timestamp;
use runtime::RequestContext;
use storage::{Row, StoreError, Value};

use super::{Claimed, Continuation, Lease, Record, Table};
use crate::{
    machine::{Machine, State},
    saga::{Entry, Fence, Saga, SagaId, Signal},
};

/// The columns that [`saga`] reads.
pub(super) fn columns(table: &Table) -> String {
    let journal = format!(
        "id, {} AS scope, fingerprint, state, failure, created_at, updated_at, version, attempts, needs_attention, \
         request_id, traceparent",
        table.scope
    );
    [&[journal.as_str()], table.frozen, table.learned].concat().join(", ")
}

/// The final states as SQL: `('COMPLETED', 'FAILED')`.
pub(super) fn final_states(table: &Table) -> String {
    let names: Vec<_> = table.final_states.iter().map(|name| format!("'{name}'")).collect();
    format!("({})", names.join(", "))
}

pub(super) fn saga<M: Machine>(row: Row<'_>) -> Result<Saga<M>, StoreError> {
    let name = row.text("state")?;
    let state = M::State::from_parts(&name, row.json_or_null("failure")?);
    let context = row.text_or_null("request_id")?.zip(row.text_or_null("traceparent")?);
    Ok(Saga {
        id: SagaId(row.uuid("id")?),
        scope: row.text("scope")?,
        fingerprint: row.text("fingerprint")?,
        state: state.ok_or_else(|| StoreError::corrupt(format!("column state holds {name:?}")))?,
        data: M::read(row)?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        attempts: u32::try_from(row.integer("attempts")?).map_err(StoreError::corrupt)?,
        needs_attention: row.flag("needs_attention")?,
        version: row.integer("version")?,
        context: context.map(|(request_id, traceparent)| RequestContext {
            request_id,
            traceparent,
        }),
    })
}

/// The saga, if its row can be read. Otherwise logs the error: one corrupt row must not stop the other sagas.
pub(super) fn readable<M: Machine>(saga: Result<Saga<M>, StoreError>) -> Option<Saga<M>> {
    saga.inspect_err(|error| {
        let error = runtime::telemetry::chain(error);
        tracing::error!(error, kind = M::KIND, "a saga in the journal cannot be read");
    })
    .ok()
}

/// A saga that was claimed; `None` if its row cannot be read. The row is claimed again when its lease has expired.
pub(super) fn claimed<M: Machine>(row: Row<'_>) -> Result<Option<Claimed<M>>, StoreError> {
    let fence = Fence(row.integer("fence")?);
    Ok(readable(saga(row)).map(|saga| Claimed { saga, fence }))
}

pub(super) fn entry(row: Row<'_>) -> Result<Entry, StoreError> {
    Ok(Entry {
        state: row.text("reached")?,
        at: row.time("at")?,
        detail: row.text("detail")?,
    })
}

/// The values of [`insert_columns`].
pub(super) fn insert_values<M: Machine>(new: &Saga<M>, key: &str, lease: &Lease) -> Result<Vec<Value>, StoreError> {
    let context = new.context.as_ref();
    let mut values = vec![
        Value::Uuid(Some(new.id.0)),
        Value::text(&new.scope),
        Value::text(key),
        Value::text(&new.fingerprint),
        Value::text(new.state.name()),
        Value::text(M::status(&new.state, &new.data)),
        Value::Time(new.created_at),
        Value::Time(new.updated_at),
        Value::Integer(new.version),
        Value::Integer(M::VERSION.into()),
        Value::text(&lease.owner),
        Value::Text(context.map(|context| context.request_id.clone())),
        Value::Text(context.map(|context| context.traceparent.clone())),
    ];
    values.extend(M::frozen(&new.data)?);
    values.extend(M::learned(&new.data)?);
    Ok(values)
}

/// The columns that are written when a saga begins, besides those of its lease.
pub(super) fn insert_columns(table: &Table) -> Vec<&'static str> {
    let (scope, key) = (table.scope, table.key);
    let journal = [
        "id",
        scope,
        key,
        "fingerprint",
        "state",
        "status",
        "created_at",
        "updated_at",
        "version",
        "machine",
        "owner",
        "request_id",
        "traceparent",
    ];
    [&journal[..], table.frozen, table.learned].concat()
}

/// The changes that a record makes to the row of its saga.
pub(super) struct Changes {
    /// The values of [`changed_columns`].
    pub(super) values: Vec<Value>,
    pub(super) version: i64,
    pub(super) wakeup: Wakeup,
}

/// When the saga continues, and who may drive it then.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wakeup {
    /// The owner keeps its lease: the saga is due in `wake_in`, and the lease expires in `lease_for`.
    Owned { wake_in: Duration, lease_for: Duration },
    /// The lease is released: any process may claim the saga at this time.
    Unowned(Timestamp),
}

/// The columns that a record changes, besides those of its lease.
pub(super) fn changed_columns(table: &Table) -> Vec<&'static str> {
    let journal = [
        "state",
        "status",
        "failure",
        "updated_at",
        "version",
        "attempts",
        "needs_attention",
    ];
    [&journal[..], table.learned].concat()
}

impl Changes {
    pub(super) fn of<M: Machine>(record: &Record<M>, before: &Saga<M>, lease: &Lease) -> Result<Self, StoreError> {
        let unchanged = (&before.state, before.updated_at);
        let (state, updated_at) = record.steps.last().map_or(unchanged, |(state, at, _)| (state, *at));
        let steps = i64::try_from(record.steps.len()).map_err(StoreError::corrupt)?;
        let version = before.version + steps;
        let retry = match record.continuation {
            Continuation::Retry(retry) => Some(retry),
            Continuation::Continue | Continuation::Wait(_) => None,
        };
        let mut values = vec![
            Value::text(state.name()),
            Value::text(M::status(state, &record.data)),
            state.failure().map_or(Ok(Value::Json(None)), Value::json)?,
            Value::Time(updated_at),
            Value::Integer(version),
            Value::Integer(retry.map_or(0, |retry| retry.attempts.into())),
            Value::Flag(retry.is_some_and(|retry| retry.needs_attention)),
        ];
        values.extend(M::learned(&record.data)?);
        let wake_in = retry.map(|retry| retry.after).unwrap_or_default();
        let lease_for = wake_in.saturating_add(lease.ttl);
        Ok(Self {
            values,
            version,
            wakeup: match record.continuation {
                Continuation::Wait(until) => Wakeup::Unowned(until),
                Continuation::Continue | Continuation::Retry(_) => Wakeup::Owned { wake_in, lease_for },
            },
        })
    }
}

/// The detail of the first history entry.
pub(super) fn first_detail<M: Machine>(new: &Saga<M>) -> String {
    M::detail(&new.state, None)
}

/// The label of a record's commit.
pub(super) fn label<M: Machine>(record: &Record<M>) -> &'static str {
    let last = record.steps.last();
    last.map_or(M::COMMITS.retry, |(state, ..)| state.commit_label())
}

pub(super) fn signal(row: Row<'_>) -> Result<Signal, StoreError> {
    Ok(Signal {
        id: row.uuid("id")?,
        name: row.text("name")?,
        payload: row.text("payload")?,
    })
}
