//! Lists checkouts, for operators: what is stuck?

use storage::StoreError;

use super::Sagas;
use crate::{
    domain::{Checkout, CheckoutId},
    ports::Filter,
};

impl Sagas {
    /// A page, oldest first, and where the next one begins.
    pub async fn list(&self, filter: Filter) -> Result<(Vec<Checkout>, Option<CheckoutId>), StoreError> {
        let page = usize::try_from(filter.limit).unwrap_or(usize::MAX);
        let one_more = Filter {
            limit: filter.limit.saturating_add(1),
            ..filter
        };
        let mut found = self.ports.journal.list(one_more).await?;
        let more = found.len() > page;
        found.truncate(page);
        let next = if more {
            found.last().map(|checkout| checkout.id)
        } else {
            None
        };
        Ok((found, next))
    }
}
