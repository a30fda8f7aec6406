//! Alice sends one checkout twice concurrently.

use crate::crash::scenario::Scenario;

#[derive(Debug)]
pub(super) struct Duplicate;

impl Scenario for Duplicate {
    fn purchases(&self) -> &[(&'static str, Option<&'static str>)] {
        &[("alice", None)]
    }

    fn times(&self) -> usize {
        2
    }
}
