//! What purchases need of the world, besides the journal of their sagas.

use std::collections::BTreeMap;

use async_trait::async_trait;
use money::Money;
use storage::StoreError;

use crate::domain::{CartView, CheckoutId, Failure, Line, PaymentMethod, Priced, ProductId, Purchase, UserId};

/// What the tables of the sagas say of customers. Every method is one atomic unit.
#[async_trait]
pub trait CustomerRecords: Send + Sync {
    /// A checkout of this user that was begun before carts had holds, and may take, or may have taken, pieces of the cart that
    /// had this version. One that has not ended comes first.
    async fn unheld(&self, user: &UserId, cart_version: i64) -> Result<Option<Unheld>, StoreError>;
    /// Checkouts of this user, oldest first, at most `limit`: if none of the user's goes on.
    async fn ended(&self, user: &UserId, limit: usize) -> Result<Ended, StoreError>;
    /// One of these checkouts whose event waits to be published.
    async fn unpublished(&self, checkouts: &[CheckoutId]) -> Result<Option<CheckoutId>, StoreError>;
    /// Makes those of these checkouts nobody's that are this user's and have ended: what they belong to begins with
    /// [`proto::ids::ERASED_USER`] and goes on with their id, so that a key of the user's is free again, and no two of them
    /// can be told to be of one customer. Their published events go from the outbox. Returns how many were made nobody's.
    async fn forget(&self, user: &UserId, checkouts: &[CheckoutId]) -> Result<u64, StoreError>;
}

/// A checkout that holds nothing and is in the way of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unheld {
    pub by: CheckoutId,
    pub has_ended: bool,
}

/// The checkouts of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    All(Vec<CheckoutId>),
    /// This one goes on.
    Unfinished(CheckoutId),
}

/// A peer gave no answer that can be relied on: it may or may not have done what it was asked to.
#[derive(Debug, thiserror::Error)]
#[error("the outcome is unknown")]
pub struct PeerError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// What came of a call to a peer.
#[derive(Debug)]
pub enum Answer<T> {
    Done(T),
    Refused(Failure),
    /// It may or may not have been executed.
    Unknown(PeerError),
}

impl<T> Answer<T> {
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Answer<U> {
        match self {
            Self::Done(value) => Answer::Done(f(value)),
            Self::Refused(failure) => Answer::Refused(failure),
            Self::Unknown(error) => Answer::Unknown(error),
        }
    }

    /// Reads what was answered. An answer that cannot be read leaves it unknown what was done.
    pub fn and_then<U>(self, read: impl FnOnce(T) -> Result<U, PeerError>) -> Answer<U> {
        match self.map(read) {
            Answer::Done(Ok(value)) => Answer::Done(value),
            Answer::Done(Err(error)) | Answer::Unknown(error) => Answer::Unknown(error),
            Answer::Refused(failure) => Answer::Refused(failure),
        }
    }
}

/// What is known of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payment {
    Succeeded {
        payment_id: String,
    },
    Declined(Failure),
    /// The provider has not seen it.
    Open,
}

#[async_trait]
pub trait Carts: Send + Sync {
    async fn cart_of(&self, user: &UserId) -> Result<CartView, PeerError>;
    /// Takes the pieces of this purchase out of what is free.
    async fn hold(&self, id: CheckoutId, user: &UserId, purchase: &Purchase) -> Answer<()>;
    async fn give_back(&self, id: CheckoutId, user: &UserId) -> Answer<()>;
}

#[async_trait]
pub trait Catalogue: Send + Sync {
    /// The products that exist among these.
    async fn prices_of(&self, products: &[ProductId]) -> Result<BTreeMap<ProductId, Priced>, PeerError>;
}

#[async_trait]
pub trait Stock: Send + Sync {
    async fn reserve(&self, id: CheckoutId, lines: &[Line]) -> Answer<()>;
    async fn confirm(&self, id: CheckoutId) -> Answer<()>;
    async fn release(&self, id: CheckoutId) -> Answer<()>;
}

#[async_trait]
pub trait Payments: Send + Sync {
    /// Answers with the payment's id.
    async fn charge(&self, id: CheckoutId, amount: Money, method: &PaymentMethod) -> Answer<String>;
    async fn refund(&self, id: CheckoutId) -> Answer<()>;
    async fn find(&self, id: CheckoutId) -> Result<Payment, PeerError>;
}
