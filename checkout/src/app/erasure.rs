//! Lets the purchases of a customer be nobody's.
//!
//! A purchase is erased here last, when the other services have forgotten it: as long as it is this customer's here, it is
//! found again, so an erasure that was cut off anywhere is made again from its beginning.

use std::sync::Arc;

use ::saga::{Journal, SagaId};
use events::{BusError, DeadLetters, Erased, EventBus, LookedAt, Parked};
use proto::events::CHECKOUTS;
use serde_json::Value;
use storage::StoreError;

use crate::{
    domain::{CheckoutId, UserId},
    ports::{CustomerRecords, Ended},
    saga::CheckoutMachine,
};

/// Why nothing was erased. It can be tried again once that is over.
#[derive(Debug)]
pub enum EraseError {
    /// This purchase goes on.
    Unfinished(CheckoutId),
    /// The event of this purchase, or of one beside it, has not come to everybody yet.
    Undelivered(Option<CheckoutId>),
    /// An event of this user could not be applied, and waits for somebody to send it through again.
    Parked(Box<Parked>),
    Store(StoreError),
    Bus(BusError),
}

impl From<StoreError> for EraseError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<BusError> for EraseError {
    fn from(error: BusError) -> Self {
        Self::Bus(error)
    }
}

/// What was erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erasure {
    pub checkouts: u64,
    /// The log lets no single events go and keeps those of these purchases.
    pub log_keeps_events: bool,
}

/// What is to become of events of a user that could not be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadEvents {
    /// An order may still have to be made of them: the user stays until they were sent through again.
    Keep,
    Drop,
}

/// The parked events of a customer, and how far the dead letters of each group were read for them.
#[derive(Default)]
struct Found {
    letters: Vec<Parked>,
    looked_at: Vec<LookedAt>,
}

impl Found {
    /// An error if one of them is in the way.
    fn allow(&self, dead: DeadEvents) -> Result<(), EraseError> {
        match self.letters.last() {
            Some(parked) if dead == DeadEvents::Keep => Err(EraseError::Parked(Box::new(parked.clone()))),
            Some(_) | None => Ok(()),
        }
    }
}

/// Erases customers. Clones share everything.
#[derive(Clone)]
pub struct Eraser {
    journal: Arc<dyn Journal<CheckoutMachine>>,
    records: Arc<dyn CustomerRecords>,
    bus: Arc<dyn EventBus>,
}

impl Eraser {
    pub fn new(
        journal: Arc<dyn Journal<CheckoutMachine>>,
        records: Arc<dyn CustomerRecords>,
        bus: Arc<dyn EventBus>,
    ) -> Self {
        Self { journal, records, bus }
    }

    /// The purchases of this user that are to be erased next; none when there are none left. What is in the way of that is said
    /// here, before any service has forgotten anything.
    pub async fn prepare(&self, user: &UserId, dead: DeadEvents) -> Result<Vec<CheckoutId>, EraseError> {
        let checkouts = self.ended(user).await?;
        self.parked(user, &checkouts).await?.allow(dead)?;
        Ok(checkouts)
    }

    /// Erases those of these purchases that are this user's, with their events; and events of the user that belong to no
    /// purchase, if they may go.
    pub async fn erase(&self, user: &UserId, named: &[CheckoutId], dead: DeadEvents) -> Result<Erasure, EraseError> {
        let mut theirs = self.ended(user).await?;
        theirs.retain(|checkout| named.contains(checkout));
        // This comes first: an event that is published later would come to the log after the erasure there.
        if let Some(checkout) = self.records.unpublished(&theirs).await? {
            return Err(EraseError::Undelivered(Some(checkout)));
        }
        // The log erases nothing if a group parks an event after this.
        let parked = self.parked(user, &theirs).await?;
        parked.allow(dead)?;
        let mut keys: Vec<_> = theirs.iter().map(ToString::to_string).collect();
        keys.extend(self.keys_of_nobody(user, &parked.letters).await?);
        let log_keeps_events = match self.bus.erase(CHECKOUTS.name, &parked.looked_at, &keys).await? {
            Erased::Gone => false,
            Erased::Kept => !keys.is_empty(),
            Erased::Unread => return Err(EraseError::Undelivered(theirs.first().copied())),
        };
        Ok(Erasure {
            checkouts: self.records.forget(user, &theirs).await?,
            log_keeps_events,
        })
    }

    async fn ended(&self, user: &UserId) -> Result<Vec<CheckoutId>, EraseError> {
        match self.records.ended(user, proto::convert::MAX_ERASED).await? {
            Ended::All(checkouts) => Ok(checkouts),
            Ended::Unfinished(checkout) => Err(EraseError::Unfinished(checkout)),
        }
    }

    /// What is parked of these purchases, or names this user.
    async fn parked(&self, user: &UserId, checkouts: &[CheckoutId]) -> Result<Found, EraseError> {
        let dead_letters = DeadLetters::new(self.bus.clone());
        let is_theirs = |letter: &Parked| {
            let key = &letter.message.key;
            checkouts.iter().any(|checkout| checkout.to_string() == *key) || names(letter, user)
        };
        let mut found = Found::default();
        for &group in CHECKOUTS.groups {
            let (letters, looked_at) = dead_letters.look_at(CHECKOUTS.name, group).await?;
            found.letters.extend(letters.into_iter().filter(is_theirs));
            found.looked_at.push(looked_at);
        }
        Ok(found)
    }

    /// The keys of those of these events that name this user and belong to no purchase. Under the key of a purchase stand events
    /// of its customer, whoever that is.
    async fn keys_of_nobody(&self, user: &UserId, parked: &[Parked]) -> Result<Vec<String>, EraseError> {
        let mut keys = Vec::new();
        for letter in parked.iter().filter(|letter| names(letter, user)) {
            let key = &letter.message.key;
            let known = match key.parse().map(SagaId) {
                Ok(id) => self.journal.get(id, None).await?.is_some(),
                Err(_) => false,
            };
            if !known {
                keys.push(key.clone());
            }
        }
        Ok(keys)
    }
}

/// Whether an event says that it is of this user. Of one that cannot be read nobody knows.
fn names(letter: &Parked, user: &UserId) -> bool {
    let value: Option<Value> = serde_json::from_slice(&letter.message.value).ok();
    value.is_some_and(|value| value["user_id"] == user.as_str())
}
