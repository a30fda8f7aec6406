//! The parts of an order that both adapters read.

use jiff::Timestamp;
use money::{Currency, CurrencyError, Money};
use storage::{Row, StoreError};

use crate::domain::{CheckoutId, Line, Order, OrderId, OrderIds, ProductId, UserId};

/// An order without its lines: the row in `orders`.
pub(super) struct OrderHeader {
    pub(super) ids: OrderIds,
    pub(super) total: Money,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
}

impl OrderHeader {
    pub(super) fn read(row: Row<'_>) -> Result<Self, StoreError> {
        let currency: Currency = row
            .text("currency")?
            .parse()
            .map_err(|e: CurrencyError| StoreError::corrupt(e))?;
        Ok(Self {
            ids: OrderIds {
                id: OrderId(row.uuid("id")?),
                checkout_id: CheckoutId(row.uuid("checkout_id")?),
                user_id: UserId::stored(row.text("user_id")?),
            },
            total: Money::new(row.integer("total")?, currency),
            created_at: row.time("created_at")?,
            updated_at: row.time("updated_at")?,
        })
    }

    /// The order with these lines; corrupt if their sum is not the total.
    pub(super) fn with_lines(self, lines: Vec<Line>) -> Result<Order, StoreError> {
        let order = Order::new(self.ids, lines, self.total, self.created_at).map_err(StoreError::corrupt)?;
        Ok(order.with_updated_at(self.updated_at))
    }
}

pub(super) fn product_id(id: i64) -> Result<ProductId, StoreError> {
    ProductId::new(id).ok_or_else(|| StoreError::corrupt(format!("product id {id}")))
}
