//! What is in the rows of a journal, whatever database they are in.

use std::time::Duration;

use jiff::Timestamp;
use runtime::RequestContext;
use storage::{Row, StoreError, Value};

use super::{Claimed, Lease, Record, Table, Then};
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

/// The states that nothing follows, as SQL: `('COMPLETED', 'FAILED')`.
pub(super) fn ends(table: &Table) -> String {
    let names: Vec<_> = table.ends.iter().map(|name| format!("'{name}'")).collect();
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

/// The sagas that can be read. The others are told of.
pub(super) fn readable<M: Machine>(saga: Result<Saga<M>, StoreError>) -> Option<Saga<M>> {
    saga.inspect_err(|error| {
        let error = runtime::telemetry::chain(error);
        tracing::error!(error, kind = M::KIND, "a saga in the journal cannot be read");
    })
    .ok()
}

/// A saga that was claimed. One that cannot be read comes up again when its lease runs out.
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

/// The columns that a saga begins with, and their values.
pub(super) fn beginning<M: Machine>(new: &Saga<M>, key: &str, lease: &Lease) -> Result<Vec<Value>, StoreError> {
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

/// The names of [`beginning`].
pub(super) fn beginning_columns(table: &Table) -> Vec<&'static str> {
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

/// What a record makes of the row of its saga.
pub(super) struct Changes {
    /// Those of [`changed_columns`].
    pub(super) values: Vec<Value>,
    pub(super) version: i64,
    pub(super) due: Due,
}

/// When the saga is to be driven on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Due {
    /// That soon, and so soon by somebody else.
    In(Duration, Duration),
    /// At that time, by anybody.
    At(Timestamp),
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
        let retry = match record.then {
            Then::Retry(retry) => Some(retry),
            Then::GoOn | Then::Wait(_) => None,
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
        let wakes_in = retry.map(|retry| retry.after).unwrap_or_default();
        Ok(Self {
            values,
            version,
            due: match record.then {
                Then::Wait(until) => Due::At(until),
                Then::GoOn | Then::Retry(_) => Due::In(wakes_in, wakes_in.saturating_add(lease.ttl)),
            },
        })
    }
}

/// What the history says of the beginning of a saga.
pub(super) fn first_detail<M: Machine>(new: &Saga<M>) -> String {
    M::detail(&new.state, None)
}

/// Names the commit of a record.
pub(super) fn label<M: Machine>(record: &Record<M>) -> &'static str {
    let last = record.steps.last();
    last.map_or(M::COMMITS.retry, |(state, ..)| state.commit())
}

pub(super) fn signal(row: Row<'_>) -> Result<Signal, StoreError> {
    Ok(Signal {
        id: row.uuid("id")?,
        name: row.text("name")?,
        payload: row.text("payload")?,
    })
}
