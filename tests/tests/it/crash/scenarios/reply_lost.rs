//! Alice is charged, and the provider's answer is lost.

use crate::crash::scenario::Scenario;

#[derive(Debug)]
pub(super) struct ReplyLost;

impl Scenario for ReplyLost {
    fn method(&self) -> &'static str {
        "pm_card_charged_reply_lost"
    }

    fn purchases(&self) -> &[(&'static str, Option<&'static str>)] {
        &[("alice", None)]
    }
}
