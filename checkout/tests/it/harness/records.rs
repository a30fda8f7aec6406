//! What is known of a customer beyond the sagas, from the journal in memory.

use async_trait::async_trait;
use checkout::{
    domain::{Checkout, CheckoutId, UserId},
    ports::{CustomerRecords, Ended, Unheld},
    saga::State,
};
use storage::StoreError;

use super::MemoryJournal;

pub(super) struct Records(pub(super) MemoryJournal);

#[async_trait]
impl CustomerRecords for Records {
    async fn unheld(&self, user: &UserId, cart_version: i64) -> Result<Option<Unheld>, StoreError> {
        let all = self.0.sagas().into_iter().map(Checkout::from);
        let of_user = all.filter(|old| old.user == *user && old.purchase.cart.id.is_none() && !old.held);
        let is_in_the_way = |old: &Checkout| match old.state {
            State::Initiated | State::InventoryReserved | State::PaymentPending | State::PaymentCompleted => true,
            State::Completed => old.purchase.cart.version >= cart_version,
            State::CartHeld | State::Releasing(_) | State::GivingBack(_) | State::Refunding(_) | State::Failed(_) => {
                false
            }
        };
        let first = of_user.filter(is_in_the_way).min_by_key(|old| old.state.is_terminal());
        Ok(first.map(|first| Unheld {
            by: first.id,
            has_ended: first.state.is_terminal(),
        }))
    }

    async fn ended(&self, _: &UserId, _: usize) -> Result<Ended, StoreError> {
        panic!("nobody is erased here")
    }

    async fn unpublished(&self, _: &[CheckoutId]) -> Result<Option<CheckoutId>, StoreError> {
        panic!("nobody is erased here")
    }

    async fn forget(&self, _: &UserId, _: &[CheckoutId]) -> Result<u64, StoreError> {
        panic!("nobody is erased here")
    }
}
