//! The SQL of a journal in PostgreSQL.

use std::sync::Arc;

use super::super::{Table, row};
use crate::machine::Machine;

/// The statements for the tables of one machine.
pub(super) struct Statements {
    pub(super) insert: Arc<str>,
    pub(super) find: Arc<str>,
    pub(super) get: Arc<str>,
    pub(super) record: Arc<str>,
    pub(super) wait: Arc<str>,
    pub(super) due: Arc<str>,
    pub(super) claim: Arc<str>,
    pub(super) release_all: Arc<str>,
    pub(super) send: Arc<str>,
}

impl Statements {
    pub(super) fn of<M: Machine>() -> Self {
        let table = M::TABLE;
        let (name, history, history_id) = (table.name, table.history, table.history_id);
        let (columns, final_states) = (row::columns(&table), row::final_states(&table));
        // `statement_timestamp()` is stable, so an index scan can use it; `clock_timestamp()` is volatile.
        let is_due = format!(
            "state NOT IN {final_states} AND lease_until <= statement_timestamp() AND wake_at <= statement_timestamp()"
        );
        Self {
            insert: insert(&table).into(),
            find: format!(
                "SELECT {columns} FROM {name} WHERE {} = $1 AND {} = $2",
                table.scope, table.key
            )
            .into(),
            // One statement, so that saga and history come from one snapshot.
            get: format!(
                "SELECT {columns}, reached, at, detail FROM {name}
                 JOIN (SELECT {history_id} AS of_saga, version AS nth, state AS reached, at, detail FROM {history}) entries
                    ON of_saga = id
                 WHERE id = $1 AND ($2::text IS NULL OR {} = $2) ORDER BY nth",
                table.scope
            )
            .into(),
            record: record(
                &table,
                "wake_at = clock_timestamp() + $9, lease_until = clock_timestamp() + $10",
                "",
            )
            .into(),
            wait: record(
                &table,
                "owner = '', wake_at = $9, lease_until = $10",
                "AND unread_signals = $4",
            )
            .into(),
            due: format!("SELECT EXISTS (SELECT 1 FROM {name} WHERE {is_due} AND machine <= $1)").into(),
            // Longest expired first. Skips rows that another transaction has locked instead of waiting for them.
            claim: format!(
                "WITH due AS MATERIALIZED (
                    SELECT id FROM {name} WHERE {is_due} AND machine <= $4
                    ORDER BY lease_until LIMIT $3 FOR UPDATE SKIP LOCKED)
                 UPDATE {name} SET owner = $1, fence = fence + 1, lease_until = clock_timestamp() + $2
                 WHERE id IN (SELECT id FROM due)
                 RETURNING {columns}, fence"
            )
            .into(),
            release_all: format!(
                "UPDATE {name} SET lease_until = clock_timestamp(), wake_at = clock_timestamp()
                 WHERE owner = $1 AND state NOT IN {final_states}"
            )
            .into(),
            send: send(&table).into(),
        }
    }
}

/// Stores a saga with its first history entry; no row if the key is taken. Waits for a transaction that takes the key.
fn insert(table: &Table) -> String {
    let columns = row::insert_columns(table);
    let places: Vec<_> = (1..=columns.len()).map(|nth| format!("${nth}")).collect();
    format!(
        "WITH begun AS (
            INSERT INTO {name} ({columns}, fence, lease_until, wake_at)
            VALUES ({places}, 1, clock_timestamp() + ${ttl}, clock_timestamp())
            ON CONFLICT ({scope}, {key}) DO NOTHING
            RETURNING id, version, state, created_at, fence),
         first AS (
            INSERT INTO {history} ({history_id}, version, state, at, detail)
            SELECT id, version, state, created_at, ${detail} FROM begun)
         SELECT fence FROM begun",
        name = table.name,
        scope = table.scope,
        key = table.key,
        history = table.history,
        history_id = table.history_id,
        ttl = columns.len() + 1,
        detail = columns.len() + 2,
        columns = columns.join(", "),
        places = places.join(", "),
    )
}

/// Persists a record with its history entries and returns the version; returns no row if version or fence has changed.
fn record(table: &Table, lease: &str, condition: &str) -> String {
    let set: Vec<_> = row::changed_columns(table)
        .into_iter()
        .zip(11..)
        .map(|(column, nth)| format!("{column} = ${nth}"))
        .collect();
    format!(
        "WITH moved AS (
            UPDATE {name} SET {set}, unread_signals = unread_signals - $4, {lease}
            WHERE id = $1 AND version = $2 AND fence = $3 {condition}
            RETURNING id, version),
         entries AS (
            INSERT INTO {history} ({history_id}, version, state, at, detail)
            SELECT id, $2 + nth, reached, at, detail
            FROM moved, UNNEST($5::text[], $6::timestamptz[], $7::text[])
                WITH ORDINALITY AS step (reached, at, detail, nth)),
         used AS (
            UPDATE saga_signals SET read_at = clock_timestamp()
            WHERE saga_id = (SELECT id FROM moved) AND id = ANY($8::uuid[]))
         SELECT version FROM moved",
        name = table.name,
        history = table.history,
        history_id = table.history_id,
        set = set.join(", "),
    )
}

/// Stores a signal and makes the saga due, unless the saga is final. Returns `is_final`; no row if there is no saga.
fn send(table: &Table) -> String {
    let (name, final_states) = (table.name, row::final_states(table));
    format!(
        "WITH known AS (SELECT id, state IN {final_states} AS is_final FROM {name} WHERE id = $1 FOR UPDATE),
                 put AS (
                    INSERT INTO saga_signals (saga_id, id, name, payload, sent_at)
                    SELECT id, $2, $3, $4, clock_timestamp() FROM known WHERE NOT is_final
                    ON CONFLICT DO NOTHING RETURNING saga_id),
                 woken AS (
                    UPDATE {name} SET unread_signals = unread_signals + 1, wake_at = LEAST(wake_at, clock_timestamp()),
                        lease_until = CASE owner WHEN '' THEN clock_timestamp() ELSE lease_until END
                    WHERE id IN (SELECT saga_id FROM put))
                 SELECT is_final FROM known"
    )
}
