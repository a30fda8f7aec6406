//! Reads a product from a row of either database.

use money::{CurrencyError, Money};
use storage::{Row, StoreError};

use crate::domain::{Details, Product, ProductId, is_image_url};

/// The columns that [`product`] reads.
macro_rules! columns {
    () => {
        "id, name, description, price_minor_units, currency, image_url, created_at"
    };
}
pub(super) use columns;

pub(super) fn product(row: Row<'_>) -> Result<Product, StoreError> {
    let id = row.integer("id")?;
    let currency = row.text("currency")?.parse();
    let price = Money::new(
        row.integer("price_minor_units")?,
        currency.map_err(|e: CurrencyError| StoreError::corrupt(e))?,
    );
    // Earlier versions stored image URLs that are invalid today.
    let image_url = Some(row.text("image_url")?).filter(|url| is_image_url(url));
    let details = Details::new(
        row.text("name")?,
        row.text("description")?,
        price,
        image_url.unwrap_or_default(),
    )
    .map_err(|invalid| StoreError::corrupt(format!("product {id}: invalid {invalid:?}")))?;
    Ok(Product {
        id: ProductId::new(id).ok_or_else(|| StoreError::corrupt(format!("product {id}: invalid id")))?,
        details,
        created_at: row.time("created_at")?,
    })
}
