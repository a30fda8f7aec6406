//! The page of one key in the books: the same words in every database.

use storage::StoreError;

use super::ledger::{Booked, Order, Verdict};
use crate::domain::{DeclineReason, Standing, Terms};

/// What is on the page of one key.
pub(super) struct Entry {
    pub(super) standing: Standing,
    /// What was charged; absent for a tombstone.
    pub(super) terms: Option<Terms>,
}

impl Entry {
    /// What an attempt under a key that has an entry comes to.
    pub(super) fn answer(self, order: &Order) -> Booked {
        match self.terms {
            Some(terms) if terms != order.terms => Booked::OtherCharge,
            Some(_) | None => Booked::Stands(self.standing),
        }
    }
}

/// A verdict as it is written down: the outcome, the reason of a decline, and what it makes of the key.
pub(super) const fn outcome(verdict: Verdict) -> (&'static str, Option<&'static str>, Standing) {
    match verdict {
        Verdict::Succeeded => ("SUCCEEDED", None, Standing::Charged),
        Verdict::Declined(reason) => ("DECLINED", Some(reason.as_str()), Standing::Declined(reason)),
    }
}

pub(super) fn standing(name: &str, reason: Option<&str>) -> Result<Standing, StoreError> {
    match (name, reason.and_then(DeclineReason::parse)) {
        ("SUCCEEDED", None) => Ok(Standing::Charged),
        ("DECLINED", Some(reason)) => Ok(Standing::Declined(reason)),
        ("REFUNDED", None) => Ok(Standing::Refunded),
        ("CANCELLED", None) => Ok(Standing::Cancelled),
        _ => Err(StoreError::corrupt(format!("no such outcome: {name}, {reason:?}"))),
    }
}
