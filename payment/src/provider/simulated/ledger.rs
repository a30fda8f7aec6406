//! The provider's books.

use async_trait::async_trait;
use jiff::Timestamp;
use storage::StoreError;
use uuid::Uuid;

use crate::domain::{DeclineReason, IdempotencyKey, Standing, Terms};

/// The provider's own name for a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChargeId(pub Uuid);

/// What the provider thinks of a charge when it first sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Succeeded,
    Declined(DeclineReason),
}

/// One attempt to charge.
#[derive(Debug, Clone)]
pub struct Order {
    pub key: IdempotencyKey,
    pub charge_id: ChargeId,
    pub terms: Terms,
    /// What is booked if the key has no answer yet.
    pub verdict: Verdict,
    /// Attempts up to this number are counted and nothing else.
    pub down_for: u32,
    pub at: Timestamp,
}

/// What came of an attempt to charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// How many there have been under this key, this one included.
    pub number: u32,
    pub booked: Booked,
}

/// What the books say after an attempt to charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Booked {
    Stands(Standing),
    /// Nothing was looked at.
    Down,
    /// The key belongs to a charge of another amount or method.
    OtherCharge,
}

/// The books. Every method is one atomic unit.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Counts the attempt, and books the order unless its key has an answer already.
    async fn charge(&self, order: Order) -> Result<Attempt, StoreError>;
    /// Gives back what was charged under the key; leaves a tombstone for a key that is not known.
    async fn refund(&self, key: &IdempotencyKey, at: Timestamp) -> Result<Standing, StoreError>;
    async fn find(&self, key: &IdempotencyKey) -> Result<Option<Standing>, StoreError>;
    /// What it does for callers that may have gone away: waited for when the service stops.
    fn transactions(&self) -> runtime::Tasks {
        runtime::Tasks::new()
    }
}
