//! Alice's card is declined.

use crate::crash::scenario::Scenario;

#[derive(Debug)]
pub(super) struct Declined;

impl Scenario for Declined {
    fn method(&self) -> &'static str {
        "pm_card_declined"
    }

    fn purchases(&self) -> &[(&'static str, Option<&'static str>)] {
        &[("alice", Some("CARD_DECLINED"))]
    }

    fn lines_left(&self) -> usize {
        2
    }
}
