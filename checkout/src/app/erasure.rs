//! Anonymises the purchases of a customer.
//!
//! Checkout forgets a purchase last, after the other services. Until then the customer still owns it here, so an
//! interrupted erasure finds it again and starts over.

use std::sync::Arc;

use ::saga::{Journal, SagaId};
use events::{BusError, DeadLetters, EraseOutcome, EventBus, LetterPosition, Parked};
use proto::events::CHECKOUTS;
use serde_json::Value;
use storage::StoreError;

use crate::{
    domain::{CheckoutId, UserId},
    ports::{CustomerRecords, UserCheckouts},
    saga::CheckoutMachine,
};

/// Why nothing was erased. The caller may try again later.
#[derive(Debug)]
pub enum EraseError {
    /// This purchase is not final.
    Unfinished(CheckoutId),
    /// An event of this purchase, or of another one of the same request, is not published or not read by every group.
    Undelivered(Option<CheckoutId>),
    /// An event of this user is parked and may still be redriven.
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
    /// The log cannot delete single events: those of these purchases stay until their retention ends.
    pub log_keeps_events: bool,
}

/// What to do with parked events of the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParkedPolicy {
    /// Refuse the erasure: a redriven event may still make an order.
    Keep,
    Drop,
}

/// The parked events of a user, and up to where the dead letters of each group were read.
#[derive(Default)]
struct ParkedEvents {
    events: Vec<Parked>,
    read_to: Vec<LetterPosition>,
}

impl ParkedEvents {
    fn check(&self, policy: ParkedPolicy) -> Result<(), EraseError> {
        match self.events.last() {
            Some(parked) if policy == ParkedPolicy::Keep => Err(EraseError::Parked(Box::new(parked.clone()))),
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

    /// The next purchases of this user to erase; empty when none are left. Finds what prevents the erasure before any
    /// service has forgotten anything.
    pub async fn prepare(&self, user: &UserId, policy: ParkedPolicy) -> Result<Vec<CheckoutId>, EraseError> {
        let checkouts = self.final_checkouts(user).await?;
        self.parked_events(user, &checkouts).await?.check(policy)?;
        Ok(checkouts)
    }

    /// Erases those of these purchases that belong to this user, with their events. Also erases parked events of the
    /// user that belong to no purchase, if the policy drops them.
    pub async fn erase(
        &self,
        user: &UserId,
        named: &[CheckoutId],
        policy: ParkedPolicy,
    ) -> Result<Erasure, EraseError> {
        let mut checkouts = self.final_checkouts(user).await?;
        checkouts.retain(|checkout| named.contains(checkout));
        // Checked first: an event that is published later would enter the log after its erasure there.
        if let Some(checkout) = self.records.unpublished(&checkouts).await? {
            return Err(EraseError::Undelivered(Some(checkout)));
        }
        // The log erases nothing if a group parks one of these events after this read.
        let parked = self.parked_events(user, &checkouts).await?;
        parked.check(policy)?;
        let mut keys: Vec<_> = checkouts.iter().map(ToString::to_string).collect();
        keys.extend(self.keys_without_checkout(user, &parked.events).await?);
        let log_keeps_events = match self.bus.erase(CHECKOUTS.name, &parked.read_to, &keys).await? {
            EraseOutcome::Erased => false,
            EraseOutcome::Unsupported => !keys.is_empty(),
            EraseOutcome::Unread => return Err(EraseError::Undelivered(checkouts.first().copied())),
        };
        Ok(Erasure {
            checkouts: self.records.forget(user, &checkouts).await?,
            log_keeps_events,
        })
    }

    async fn final_checkouts(&self, user: &UserId) -> Result<Vec<CheckoutId>, EraseError> {
        match self.records.user_checkouts(user, proto::convert::MAX_ERASED).await? {
            UserCheckouts::AllFinal(checkouts) => Ok(checkouts),
            UserCheckouts::Unfinished(checkout) => Err(EraseError::Unfinished(checkout)),
        }
    }

    /// The parked events of these purchases, and those that name this user.
    async fn parked_events(&self, user: &UserId, checkouts: &[CheckoutId]) -> Result<ParkedEvents, EraseError> {
        let dead_letters = DeadLetters::new(self.bus.clone());
        let keys: Vec<_> = checkouts.iter().map(ToString::to_string).collect();
        let mut found = ParkedEvents::default();
        for &group in CHECKOUTS.groups {
            let (events, position) = dead_letters.list_with_position(CHECKOUTS.name, group).await?;
            let of_user = |event: &Parked| keys.contains(&event.message.key) || names_user(event, user);
            found.events.extend(events.into_iter().filter(of_user));
            found.read_to.push(position);
        }
        Ok(found)
    }

    /// The keys of those of these events that name this user and belong to no checkout. An event under the key of a
    /// checkout belongs to the customer of that checkout, whatever name is in it.
    async fn keys_without_checkout(&self, user: &UserId, parked: &[Parked]) -> Result<Vec<String>, EraseError> {
        let mut keys = Vec::new();
        for event in parked.iter().filter(|event| names_user(event, user)) {
            let key = &event.message.key;
            let has_checkout = match key.parse().map(SagaId) {
                Ok(id) => self.journal.get(id, None).await?.is_some(),
                Err(_) => false,
            };
            if !has_checkout {
                keys.push(key.clone());
            }
        }
        Ok(keys)
    }
}

/// False for an event that cannot be read: its user is not known.
fn names_user(event: &Parked, user: &UserId) -> bool {
    let value: Option<Value> = serde_json::from_slice(&event.message.value).ok();
    value.is_some_and(|value| value["user_id"] == user.as_str())
}
