//! The inbox: which events a group has applied, in the store that it applies them to.

pub mod postgres;
pub mod sqlite;
