//! The use cases. What has no rule beside those of the port has none: gRPC calls the port.

use storage::BoundedError;

use crate::{
    domain::{Product, ProductId, Query},
    ports::Catalogue,
};

/// Some products, and after which one the next page starts: `None` on the last page.
pub(crate) struct Page {
    pub(crate) products: Vec<Product>,
    pub(crate) next: Option<ProductId>,
}

/// A page of at most `size` products that match.
pub(crate) async fn list_products(
    catalogue: &dyn Catalogue,
    query: &Query,
    after: Option<ProductId>,
    size: u32,
) -> Result<Page, BoundedError> {
    // One more than asked for says whether there is a next page.
    let mut products = catalogue.page(query, after, size.saturating_add(1)).await?;
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let more = products.len() > size;
    products.truncate(size);
    let next = if more {
        products.last().map(|product| product.id)
    } else {
        None
    };
    Ok(Page { products, next })
}
