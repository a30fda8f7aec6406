//! What the compiler and clippy cannot check: modules, dependencies, budgets, words, and that the documents are true.
//!
//! A finding is a broken rule; fix the place, not the rule. `CONTRIBUTING.md` has the reason of each rule.

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
mod migrations;
mod modules;
mod names;
mod settings;
mod source;
mod words;

/// Fails with all findings at once, each with its place.
fn assert_none(findings: &[String], rule: &str) {
    assert!(findings.is_empty(), "{rule}\n  {}\n", findings.join("\n  "));
}
