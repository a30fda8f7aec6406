//! The ports of checkout, besides the journal of its sagas.

use std::collections::BTreeMap;

use async_trait::async_trait;
use money::Money;
use storage::StoreError;

use crate::domain::{CartView, CheckoutId, Failure, Line, PaymentMethod, PricedProduct, ProductId, Purchase, UserId};

/// The checkouts of a customer. Every method is one atomic unit.
#[async_trait]
pub trait CustomerRecords: Send + Sync {
    /// A checkout of this user from before carts had holds that buys, or bought, pieces of the cart at this version. An
    /// unfinished one comes first.
    async fn without_hold(&self, user: &UserId, cart_version: i64) -> Result<Option<CheckoutWithoutHold>, StoreError>;
    /// The oldest `limit` checkouts of this user, or an unfinished one.
    async fn user_checkouts(&self, user: &UserId, limit: usize) -> Result<UserCheckouts, StoreError>;
    /// One of these checkouts whose event is not published yet.
    async fn unpublished(&self, checkouts: &[CheckoutId]) -> Result<Option<CheckoutId>, StoreError>;
    /// Anonymises those of these checkouts that belong to this user and are final. Their new owner is
    /// [`proto::ids::ERASED_USER`] with the checkout's id: the user's keys are free again, and nobody can tell which
    /// checkouts were of one customer. Deletes their published events from the outbox. Returns the number of checkouts.
    async fn forget(&self, user: &UserId, checkouts: &[CheckoutId]) -> Result<u64, StoreError>;
}

/// A checkout without a hold, which blocks new checkouts of its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckoutWithoutHold {
    pub id: CheckoutId,
    pub is_final: bool,
}

/// The checkouts of a user, if all are final.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserCheckouts {
    AllFinal(Vec<CheckoutId>),
    /// This checkout is not final.
    Unfinished(CheckoutId),
}

/// The outcome of a call is unknown: the peer may or may not have executed it.
#[derive(Debug, thiserror::Error)]
#[error("the outcome is unknown")]
pub struct PeerError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// The outcome of a call to a peer.
#[derive(Debug)]
pub enum PeerOutcome<T> {
    Done(T),
    Refused(Failure),
    Unknown(PeerError),
}

impl<T> PeerOutcome<T> {
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> PeerOutcome<U> {
        match self {
            Self::Done(value) => PeerOutcome::Done(f(value)),
            Self::Refused(failure) => PeerOutcome::Refused(failure),
            Self::Unknown(error) => PeerOutcome::Unknown(error),
        }
    }

    /// Reads the answer. If it cannot be read, the outcome is unknown.
    pub fn and_then<U>(self, read: impl FnOnce(T) -> Result<U, PeerError>) -> PeerOutcome<U> {
        match self.map(read) {
            PeerOutcome::Done(Ok(value)) => PeerOutcome::Done(value),
            PeerOutcome::Done(Err(error)) | PeerOutcome::Unknown(error) => PeerOutcome::Unknown(error),
            PeerOutcome::Refused(failure) => PeerOutcome::Refused(failure),
        }
    }
}

/// What payment knows of a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payment {
    Succeeded {
        payment_id: String,
    },
    Declined(Failure),
    /// The provider has no record of it yet.
    Open,
}

#[async_trait]
pub trait Carts: Send + Sync {
    async fn get_cart(&self, user: &UserId) -> Result<CartView, PeerError>;
    /// Moves the pieces of this purchase from the free lines into a hold of this checkout.
    async fn hold(&self, id: CheckoutId, user: &UserId, purchase: &Purchase) -> PeerOutcome<()>;
    async fn give_back(&self, id: CheckoutId, user: &UserId) -> PeerOutcome<()>;
}

#[async_trait]
pub trait Catalogue: Send + Sync {
    /// Those of these products that exist.
    async fn current_prices(&self, products: &[ProductId]) -> Result<BTreeMap<ProductId, PricedProduct>, PeerError>;
}

#[async_trait]
pub trait Stock: Send + Sync {
    async fn reserve(&self, id: CheckoutId, lines: &[Line]) -> PeerOutcome<()>;
    async fn confirm(&self, id: CheckoutId) -> PeerOutcome<()>;
    async fn release(&self, id: CheckoutId) -> PeerOutcome<()>;
}

#[async_trait]
pub trait Payments: Send + Sync {
    /// Returns the payment's id.
    async fn charge(&self, id: CheckoutId, amount: Money, method: &PaymentMethod) -> PeerOutcome<String>;
    async fn refund(&self, id: CheckoutId) -> PeerOutcome<()>;
    async fn find(&self, id: CheckoutId) -> Result<Payment, PeerError>;
}
