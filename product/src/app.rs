//! The listing of products. The gRPC interface calls the port for everything else.

use storage::BoundedError;

use crate::{
    domain::{Product, ProductId, Query},
    ports::Catalogue,
};

pub(crate) struct Page {
    pub(crate) products: Vec<Product>,
    /// The last product if there is a next page.
    pub(crate) next: Option<ProductId>,
}

/// A page of at most `size` matching products.
pub(crate) async fn list_products(
    catalogue: &dyn Catalogue,
    query: &Query,
    after: Option<ProductId>,
    size: u32,
) -> Result<Page, BoundedError> {
    // One more product than `size` tells whether there is a next page.
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
