//! The SQL of a journal in SQLite.

use std::sync::Arc;

use super::super::{Table, row};
use crate::machine::Machine;

/// The database's clock, in milliseconds.
const NOW: &str = "CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER)";

/// The statements for the tables of one machine.
pub(super) struct Statements {
    pub(super) insert: Arc<str>,
    pub(super) find: Arc<str>,
    pub(super) get: Arc<str>,
    pub(super) history: Arc<str>,
    pub(super) list: Arc<str>,
    pub(super) step: Arc<str>,
    pub(super) record: Arc<str>,
    pub(super) wait: Arc<str>,
    pub(super) due: Arc<str>,
    pub(super) claim: Arc<str>,
    pub(super) release_all: Arc<str>,
    pub(super) is_final: Arc<str>,
    pub(super) wake: Arc<str>,
}

impl Statements {
    pub(super) fn of<M: Machine>() -> Self {
        let table = M::TABLE;
        let (name, history, history_id) = (table.name, table.history, table.history_id);
        let (columns, final_states) = (row::columns(&table), row::final_states(&table));
        let begins = row::insert_columns(&table);
        let due = format!("state NOT IN {final_states} AND wake_at <= {NOW} AND lease_until <= {NOW}");
        Self {
            insert: format!(
                "INSERT INTO {name} ({}, fence, lease_until, wake_at) VALUES ({}1, {NOW} + ?, 0)",
                begins.join(", "),
                "?, ".repeat(begins.len()),
            )
            .into(),
            find: format!(
                "SELECT {columns} FROM {name} WHERE {} = ? AND {} = ?",
                table.scope, table.key
            )
            .into(),
            get: format!(
                "SELECT {columns} FROM {name} WHERE id = ?1 AND (?2 IS NULL OR {} = ?2)",
                table.scope
            )
            .into(),
            history: format!(
                "SELECT state AS reached, at, detail FROM {history} WHERE {history_id} = ? ORDER BY version"
            )
            .into(),
            // Ids are UUIDv7, so this is the order of creation.
            list: format!(
                "SELECT {columns} FROM {name}
                 WHERE id > ?1 AND (?2 IS NULL OR status = ?2) AND (NOT ?3 OR needs_attention = 1)
                 ORDER BY id LIMIT ?4"
            )
            .into(),
            step: format!("INSERT INTO {history} ({history_id}, version, state, at, detail) VALUES (?, ?, ?, ?, ?)")
                .into(),
            record: record(&table, &format!("wake_at = {NOW} + ?, lease_until = {NOW} + ?"), "").into(),
            wait: record(
                &table,
                "owner = '', wake_at = ?, lease_until = ?",
                "AND unread_signals = ?",
            )
            .into(),
            due: format!("SELECT 1 FROM {name} WHERE {due} AND machine <= ? LIMIT 1").into(),
            claim: format!(
                "UPDATE {name} SET owner = ?, fence = fence + 1, lease_until = {NOW} + ?
                 WHERE id IN (SELECT id FROM {name} WHERE {due} AND machine <= ? ORDER BY wake_at LIMIT ?)
                 RETURNING {columns}, fence"
            )
            .into(),
            release_all: format!(
                "UPDATE {name} SET lease_until = 0, wake_at = 0 WHERE owner = ? AND state NOT IN {final_states}"
            )
            .into(),
            is_final: format!("SELECT state IN {final_states} FROM {name} WHERE id = ?").into(),
            wake: format!(
                "UPDATE {name} SET unread_signals = unread_signals + 1, wake_at = min(wake_at, {NOW}),
                    lease_until = CASE owner WHEN '' THEN {NOW} ELSE lease_until END WHERE id = ?"
            )
            .into(),
        }
    }
}

/// Persists a record; updates no row if version or fence has changed.
fn record(table: &Table, lease: &str, condition: &str) -> String {
    let changed = row::changed_columns(table);
    let set: Vec<_> = changed.iter().map(|column| format!("{column} = ?")).collect();
    format!(
        "UPDATE {} SET {}, unread_signals = unread_signals - ?, {lease}
         WHERE id = ? AND version = ? AND fence = ? {condition}",
        table.name,
        set.join(", ")
    )
}
