//! The port to the simulated provider's ledger: its charges, refunds and tombstones by idempotency key.

use async_trait::async_trait;
use jiff::Timestamp;
use storage::StoreError;
use uuid::Uuid;

use crate::domain::{ChargeStatus, DeclineReason, IdempotencyKey, Terms};

/// The provider's own id of a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChargeId(pub Uuid);

/// The provider's decision on a new charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Succeeded,
    Declined(DeclineReason),
}

/// One attempt to charge.
#[derive(Debug, Clone)]
pub struct ChargeAttempt {
    pub key: IdempotencyKey,
    pub charge_id: ChargeId,
    pub terms: Terms,
    /// Recorded if the key has no entry yet.
    pub decision: Decision,
    /// The provider is down for attempts up to this number: they are counted, and nothing else happens.
    pub down_for: u32,
    pub at: Timestamp,
}

/// The result of an attempt to charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptResult {
    /// The number of attempts under this key, this one included.
    pub number: u32,
    pub outcome: AttemptOutcome,
}

/// The outcome of an attempt to charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The key has this status, recorded by this attempt or before.
    Recorded(ChargeStatus),
    /// The attempt was counted only.
    Down,
    /// The key has a charge with another amount or method.
    TermsMismatch,
}

/// The provider's ledger. Every method is one atomic unit.
#[async_trait]
pub trait ProviderLedger: Send + Sync {
    /// Counts the attempt, and records its charge unless the key has an entry.
    async fn charge(&self, attempt: ChargeAttempt) -> Result<AttemptResult, StoreError>;
    /// Refunds the charge of the key; leaves a tombstone for an unknown key.
    async fn refund(&self, key: &IdempotencyKey, at: Timestamp) -> Result<ChargeStatus, StoreError>;
    async fn find(&self, key: &IdempotencyKey) -> Result<Option<ChargeStatus>, StoreError>;
    /// Transactions whose callers may have gone away; the service's stop waits for them.
    fn transactions(&self) -> runtime::Tasks;
}
