//! What a row of an order says, in any database.

use jiff::Timestamp;
use money::Money;
use storage::StoreError;

use crate::domain::{Line, Order, Origin, ProductId};

/// An order without its lines.
pub(super) struct Head {
    pub(super) origin: Origin,
    pub(super) total: Money,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
}

impl Head {
    /// The order of these lines; corrupt if they do not agree with it.
    pub(super) fn with_lines(self, lines: Vec<Line>) -> Result<Order, StoreError> {
        let order = Order::new(self.origin, lines, self.total, self.created_at).map_err(StoreError::corrupt)?;
        Ok(order.changed_at(self.updated_at))
    }
}

pub(super) fn product(id: i64) -> Result<ProductId, StoreError> {
    ProductId::new(id).ok_or_else(|| StoreError::corrupt(format!("product id {id}")))
}
