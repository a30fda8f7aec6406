//! What the compiler and clippy cannot check: rooms, dependencies, budgets, words, and that the documents are true.
//!
//! A finding is a rule that was broken somewhere; mend the place, not the rule. `CONTRIBUTING.md` says why each rule is there.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a tree that cannot be read fails the test"
)]

mod commits;
mod compose;
mod crates;
mod deployments;
mod documents;
pub(crate) mod interfaces;
mod rooms;
mod settings;
mod source;
mod words;

/// Fails with all findings at once, each with its place.
fn assert_none(findings: &[String], rule: &str) {
    assert!(findings.is_empty(), "{rule}\n  {}\n", findings.join("\n  "));
}
