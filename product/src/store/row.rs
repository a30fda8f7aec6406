//! Reads a product from a row of either database.

use jiff::Timestamp;
use money::{CurrencyError, Money};
use storage::StoreError;

use crate::domain::{Details, Product, ProductId, is_image_url};

/// The columns of a [`ProductRow`].
macro_rules! columns {
    () => {
        "id, name, description, price_minor_units, currency, image_url, created_at"
    };
}
pub(super) use columns;

/// Id, name, description, price in minor units, currency, image URL, created at (in the database's type of time).
pub(super) type ProductRow<Time> = (i64, String, String, i64, String, String, Time);

pub(super) fn product<Time>(
    (id, name, description, minor_units, currency, image_url, created_at): ProductRow<Time>,
    time: impl FnOnce(Time) -> Result<Timestamp, StoreError>,
) -> Result<Product, StoreError> {
    let price = Money::new(
        minor_units,
        currency.parse().map_err(|e: CurrencyError| StoreError::corrupt(e))?,
    );
    // Earlier versions stored image URLs that are invalid today.
    let image_url = if is_image_url(&image_url) {
        image_url
    } else {
        String::new()
    };
    let details = Details::new(name, description, price, image_url)
        .map_err(|invalid| StoreError::corrupt(format!("product {id}: invalid {invalid:?}")))?;
    Ok(Product {
        id: ProductId::new(id).ok_or_else(|| StoreError::corrupt(format!("product {id}: invalid id")))?,
        details,
        created_at: time(created_at)?,
    })
}
