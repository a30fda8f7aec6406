//! Customer records of a journal in memory.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use checkout::{
    domain::{Checkout, CheckoutId, UserId},
    ports::{CheckoutWithoutHold, CustomerRecords, UserCheckouts},
    saga::State,
};
use storage::StoreError;

use super::MemoryJournal;

pub(crate) struct MemoryRecords {
    journal: MemoryJournal,
    reads: AtomicUsize,
}

impl MemoryRecords {
    pub(super) const fn new(journal: MemoryJournal) -> Self {
        Self {
            journal,
            reads: AtomicUsize::new(0),
        }
    }

    /// The number of calls of `without_hold`.
    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl CustomerRecords for MemoryRecords {
    async fn without_hold(&self, user: &UserId, cart_version: i64) -> Result<Option<CheckoutWithoutHold>, StoreError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let all = self.journal.sagas().into_iter().map(Checkout::from);
        let without_hold = all.filter(|found| found.user == *user && found.purchase.cart.id.is_none() && !found.held);
        let takes_pieces = |found: &Checkout| match found.state {
            State::Initiated | State::InventoryReserved | State::PaymentPending | State::PaymentCompleted => true,
            State::Completed => found.purchase.cart.version >= cart_version,
            State::CartHeld | State::Releasing(_) | State::GivingBack(_) | State::Refunding(_) | State::Failed(_) => {
                false
            }
        };
        let first = without_hold
            .filter(takes_pieces)
            .min_by_key(|found| found.state.is_final());
        Ok(first.map(|first| CheckoutWithoutHold {
            id: first.id,
            is_final: first.state.is_final(),
        }))
    }

    async fn user_checkouts(&self, _: &UserId, _: usize) -> Result<UserCheckouts, StoreError> {
        panic!("not used here")
    }

    async fn unpublished(&self, _: &[CheckoutId]) -> Result<Option<CheckoutId>, StoreError> {
        panic!("not used here")
    }

    async fn forget(&self, _: &UserId, _: &[CheckoutId]) -> Result<u64, StoreError> {
        panic!("not used here")
    }
}
