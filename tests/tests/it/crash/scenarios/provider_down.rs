//! The provider is down when alice is charged, and recovers.

use crate::crash::scenario::Scenario;

#[derive(Debug)]
pub(super) struct ProviderDown;

impl Scenario for ProviderDown {
    fn method(&self) -> &'static str {
        "pm_card_unavailable"
    }

    fn purchases(&self) -> &[(&'static str, Option<&'static str>)] {
        &[("alice", None)]
    }
}
