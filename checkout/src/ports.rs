//! What the saga needs of the world.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use events::Event;
use jiff::Timestamp;
use money::Money;
use storage::StoreError;

use crate::{
    domain::{
        CartView, Checkout, CheckoutId, Entry, Failure, IdempotencyKey, Line, PaymentMethod, Priced, ProductId,
        Purchase, Request, Status, UserId,
    },
    saga::State,
};

/// Rises with every claim of a saga: writes of an earlier owner find that it has moved on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence(pub i64);

/// A saga, and the right to drive it.
#[derive(Debug, Clone)]
pub struct Claimed {
    pub checkout: Checkout,
    pub fence: Fence,
}

/// Who claims, and for how long.
#[derive(Debug, Clone)]
pub struct Lease {
    pub owner: String,
    pub ttl: Duration,
}

/// What became of an attempt to begin.
#[derive(Debug)]
pub enum Begun {
    Created(Fence),
    /// The key was taken by this checkout.
    Exists(Box<Checkout>),
    /// A checkout of this user that was begun before carts had holds, and holds nothing, may be about to take pieces of the
    /// cart, or has taken them: nothing was stored.
    Unheld {
        by: CheckoutId,
        has_ended: bool,
    },
}

/// What a driver writes down, all of it or nothing.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Steps taken, in order, with what is to be remembered of each; none when only `retry` is noted.
    pub steps: Vec<(State, Timestamp, String)>,
    pub payment_id: Option<String>,
    /// Whether the pieces of the cart are held, or were.
    pub held: bool,
    /// When to go on, when the last call had no known outcome.
    pub retry: Option<Retry>,
    /// What the world is to learn of the last step.
    pub event: Option<Event>,
}

/// A call without a known outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    pub after: Duration,
    pub attempts: u32,
    pub needs_attention: bool,
}

/// Which checkouts to list, oldest first.
#[derive(Debug, Clone, Copy)]
pub struct Filter {
    pub status: Option<Status>,
    pub needs_attention: bool,
    /// Those behind this one.
    pub after: Option<CheckoutId>,
    pub limit: u32,
}

/// The durable memory of all sagas. Every method is one atomic unit.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Stores a new saga with its first history entry, claimed by `lease`; or finds the one that has this user's key, or one
    /// that this user must wait for.
    async fn begin(&self, new: &Checkout, request: &Request, lease: &Lease) -> Result<Begun, StoreError>;
    async fn find(&self, user: &UserId, key: &IdempotencyKey) -> Result<Option<Checkout>, StoreError>;
    /// A checkout with its history, oldest first. To a user, another's is not there, and looking for it is the same work.
    async fn get(&self, id: CheckoutId, of: Option<&UserId>) -> Result<Option<(Checkout, Vec<Entry>)>, StoreError>;
    async fn list(&self, filter: Filter) -> Result<Vec<Checkout>, StoreError>;
    /// Writes down what the driver did and extends its lease: `Conflict` when version or fence has moved on, and nothing
    /// was written. Returns the new version.
    async fn record(&self, claimed: &Claimed, record: &Record, lease: &Lease) -> Result<i64, StoreError>;
    /// Claims sagas that are not finished, are to be woken, and have no owner whose lease still runs.
    async fn claim_due(&self, lease: &Lease, limit: u32) -> Result<Vec<Claimed>, StoreError>;
    /// Ends the leases of an earlier life of this owner, so that its sagas are due at once. To be called only at start.
    async fn disown(&self, owner: &str) -> Result<(), StoreError>;
}

/// What the journal keeps of customers. Every method is one atomic unit.
#[async_trait]
pub trait CustomerRecords: Send + Sync {
    /// Checkouts of this user, oldest first, at most `limit`: if none of the user's goes on.
    async fn ended(&self, user: &UserId, limit: usize) -> Result<Ended, StoreError>;
    /// One of these checkouts whose event waits to be published.
    async fn unpublished(&self, checkouts: &[CheckoutId]) -> Result<Option<CheckoutId>, StoreError>;
    /// Makes those of these checkouts nobody's that are this user's and have ended: what they belong to begins with
    /// [`proto::convert::ERASED_USER`] and goes on with their id, so that a key of the user's is free again, and no two of them
    /// can be told to be of one customer. Their published events go from the outbox. Returns how many were made nobody's.
    async fn forget(&self, user: &UserId, checkouts: &[CheckoutId]) -> Result<u64, StoreError>;
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

/// All of them.
#[derive(Clone)]
pub struct Ports {
    pub journal: Arc<dyn Journal>,
    pub carts: Arc<dyn Carts>,
    pub catalogue: Arc<dyn Catalogue>,
    pub stock: Arc<dyn Stock>,
    pub payments: Arc<dyn Payments>,
}
