//! `/api/v1/products`: the catalogue, without a token.

use std::sync::Arc;

use axum::{Json, Router, extract::State, response::IntoResponse, routing::get};
use money::Amount;
use proto::product::v1::{GetProductRequest, GetProductsRequest, Product};
use serde::Serialize;

use crate::{
    HandlerResult,
    encode::{self, Time},
    path::ProductPath,
    problem::Problem,
    query::Query,
    shared::Shared,
};

/// The path of the list and of the search.
pub(crate) const LIST: &str = "/api/v1/products";

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route(LIST, get(list))
        .route("/api/v1/products/{id}", get(show))
}

#[derive(Serialize)]
struct ProductPage {
    products: Vec<ProductJson>,
    next_page_token: String,
}

#[derive(Serialize)]
struct ProductJson {
    id: i64,
    name: String,
    description: String,
    price: Amount,
    currency: String,
    image_url: String,
    created_at: Time,
}

impl TryFrom<Product> for ProductJson {
    type Error = Problem;

    fn try_from(wire: Product) -> Result<Self, Problem> {
        let price = encode::price(wire.price, "product.price")?;
        Ok(Self {
            id: wire.id,
            name: wire.name,
            description: wire.description,
            price: price.amount,
            currency: price.currency,
            image_url: wire.image_url,
            created_at: encode::time(wire.created_at.as_ref(), "product.created_at")?,
        })
    }
}

async fn list(State(shared): State<Arc<Shared>>, mut query: Query) -> HandlerResult {
    let page = query.page()?;
    let request = GetProductsRequest {
        page_size: page.size.unwrap_or_default(),
        page_token: page.token,
        query: query.take("q")?,
    };
    let refused = |status| Problem::from(status).renaming("query", "q");
    let answer = shared
        .product()
        .get_products(request)
        .await
        .map_err(refused)?
        .into_inner();
    let products = answer
        .products
        .into_iter()
        .map(ProductJson::try_from)
        .collect::<Result<_, _>>()?;
    Ok(Json(ProductPage {
        products,
        next_page_token: answer.next_page_token,
    })
    .into_response())
}

async fn show(State(shared): State<Arc<Shared>>, ProductPath(id): ProductPath) -> HandlerResult {
    let answer = shared
        .product()
        .get_product(GetProductRequest { id: id.get() })
        .await?
        .into_inner();
    let product = encode::required(answer.product, "product")?;
    Ok(Json(ProductJson::try_from(product)?).into_response())
}
