//! Lets the purchases of a customer be nobody's.
//!
//! A purchase is erased here last, when the other services have forgotten it: as long as it is this customer's here, it is
//! found again, so an erasure that was cut off anywhere is made again from its beginning.

use std::sync::Arc;

use events::{BusError, DeadLetters, Erased, EventBus};
use proto::events::{CHECKOUT_TOPIC, GROUPS};
use storage::StoreError;

use crate::{
    domain::{CheckoutId, UserId},
    ports::{CustomerRecords, Ended, Forgotten},
};

/// Why nothing was erased. It can be tried again once that is over.
#[derive(Debug)]
pub enum EraseError {
    /// This purchase goes on.
    Unfinished(CheckoutId),
    /// The event of this purchase, or of one beside it, has not come to everybody yet.
    Undelivered(CheckoutId),
    /// An event of this purchase could not be applied and waits for somebody to send it through again.
    Parked {
        checkout: CheckoutId,
        event: String,
        group: String,
    },
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

/// Erases customers. Clones share everything.
#[derive(Clone)]
pub struct Eraser {
    records: Arc<dyn CustomerRecords>,
    bus: Arc<dyn EventBus>,
}

impl Eraser {
    pub fn new(records: Arc<dyn CustomerRecords>, bus: Arc<dyn EventBus>) -> Self {
        Self { records, bus }
    }

    /// The purchases of this user that are to be erased next; none when there are none left. What is in the way of that is said
    /// here, before any service has forgotten anything.
    pub async fn prepare(&self, user: &UserId) -> Result<Vec<CheckoutId>, EraseError> {
        let checkouts = match self.records.ended(user, proto::convert::MAX_ERASED).await? {
            Ended::All(checkouts) => checkouts,
            Ended::Unfinished(checkout) => return Err(EraseError::Unfinished(checkout)),
        };
        self.refuse_parked(&checkouts).await?;
        Ok(checkouts)
    }

    /// Erases those of these purchases that are this user's, with their events.
    pub async fn erase(&self, user: &UserId, named: &[CheckoutId]) -> Result<Erasure, EraseError> {
        let mut theirs = self.prepare(user).await?;
        theirs.retain(|checkout| named.contains(checkout));
        let Some(first) = theirs.first() else {
            return Ok(Erasure {
                checkouts: 0,
                log_keeps_events: false,
            });
        };
        let keys: Vec<_> = theirs.iter().map(ToString::to_string).collect();
        let log_keeps_events = match self.bus.erase(CHECKOUT_TOPIC, &GROUPS, &keys).await? {
            Erased::Gone => false,
            Erased::Kept => true,
            Erased::Unread => return Err(EraseError::Undelivered(*first)),
        };
        match self.records.forget(user, &theirs).await? {
            Forgotten::Done(checkouts) => Ok(Erasure {
                checkouts,
                log_keeps_events,
            }),
            Forgotten::Unpublished(checkout) => Err(EraseError::Undelivered(checkout)),
        }
    }

    /// What is parked could be lost to an order that is still to be made of it.
    async fn refuse_parked(&self, checkouts: &[CheckoutId]) -> Result<(), EraseError> {
        let letters = DeadLetters::new(self.bus.clone());
        for group in GROUPS {
            for letter in letters.list(CHECKOUT_TOPIC, group).await? {
                let of = |checkout: &&CheckoutId| checkout.to_string() == letter.message.key;
                if let Some(checkout) = checkouts.iter().find(of) {
                    return Err(EraseError::Parked {
                        checkout: *checkout,
                        event: letter.id,
                        group: letter.group,
                    });
                }
            }
        }
        Ok(())
    }
}
