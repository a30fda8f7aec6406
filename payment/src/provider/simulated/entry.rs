//! The ledger's entry of a key, the same in both engines.

use storage::{Row, StoreError};

use super::ledger::{AttemptOutcome, ChargeAttempt, Decision};
use crate::{
    domain::{ChargeStatus, DeclineReason, Terms},
    store::row::terms,
};

/// The entry of one key: a charge, with its refund if there is one, or a tombstone.
pub(super) struct LedgerEntry {
    pub(super) status: ChargeStatus,
    /// `None` for a tombstone.
    pub(super) terms: Option<Terms>,
}

impl LedgerEntry {
    pub(super) fn read(row: Row<'_>) -> Result<Self, StoreError> {
        let reason = row.text_or_null("decline_reason")?;
        let has_terms = row.text_or_null("method")?.is_some();
        Ok(Self {
            status: status(&row.text("status")?, reason.as_deref())?,
            terms: has_terms.then(|| terms(row)).transpose()?,
        })
    }

    /// The outcome of a further attempt under this key.
    pub(super) fn outcome_of(self, attempt: &ChargeAttempt) -> AttemptOutcome {
        match self.terms {
            Some(terms) if terms != attempt.terms => AttemptOutcome::TermsMismatch,
            Some(_) | None => AttemptOutcome::Recorded(self.status),
        }
    }
}

/// The columns of a decision (outcome and decline reason), and the status that the key gets.
pub(super) const fn columns(decision: Decision) -> (&'static str, Option<&'static str>, ChargeStatus) {
    match decision {
        Decision::Succeeded => ("SUCCEEDED", None, ChargeStatus::Charged),
        Decision::Declined(reason) => ("DECLINED", Some(reason.as_str()), ChargeStatus::Declined(reason)),
    }
}

fn status(name: &str, reason: Option<&str>) -> Result<ChargeStatus, StoreError> {
    match (name, reason.and_then(DeclineReason::parse)) {
        ("SUCCEEDED", None) => Ok(ChargeStatus::Charged),
        ("DECLINED", Some(reason)) => Ok(ChargeStatus::Declined(reason)),
        ("REFUNDED", None) => Ok(ChargeStatus::Refunded),
        ("CANCELLED", None) => Ok(ChargeStatus::Cancelled),
        _ => Err(StoreError::corrupt(format!("no such outcome: {name}, {reason:?}"))),
    }
}
