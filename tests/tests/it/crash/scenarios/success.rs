//! Alice buys without faults.

use crate::crash::scenario::Scenario;

#[derive(Debug)]
pub(super) struct Success;

impl Scenario for Success {
    fn purchases(&self) -> &[(&'static str, Option<&'static str>)] {
        &[("alice", None)]
    }

    /// The shop has no work at its start. This scenario covers the start for all others without work.
    fn works_at_start(&self) -> bool {
        true
    }
}
