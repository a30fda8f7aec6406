//! Shows one checkout.

use storage::StoreError;

use super::Sagas;
use crate::domain::{Checkout, CheckoutId, Entry, UserId};

impl Sagas {
    /// This user's checkout with its history; `None` for another user's too, so that nobody learns that it exists.
    pub async fn get(&self, user: &UserId, id: CheckoutId) -> Result<Option<(Checkout, Vec<Entry>)>, StoreError> {
        self.ports.journal.get(id, Some(user)).await
    }
}
