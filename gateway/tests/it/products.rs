use axum::http::Method;
use proto::{
    Reason,
    product::v1::{GetProductResponse, GetProductsResponse, Product},
    status::Refusal,
};

use crate::{
    fakes::{then, usd},
    shop::{Shop, anonymous},
};

pub(crate) fn laptop() -> Product {
    Product {
        id: 1,
        name: "Laptop".to_owned(),
        description: "for work and gaming".to_owned(),
        price: usd(129_990),
        image_url: String::new(),
        created_at: then(),
    }
}

const LAPTOP: &str = concat!(
    r#"{"id":1,"name":"Laptop","description":"for work and gaming","price":1299.90,"currency":"USD","image_url":"","#,
    r#""created_at":"2026-01-02T03:04:05.000Z"}"#
);

#[tokio::test]
async fn products_are_listed_without_a_token() {
    let shop = Shop::open().await;
    shop.fakes.script().products = GetProductsResponse {
        products: vec![laptop()],
        next_page_token: "next".to_owned(),
    };
    let uri = "/api/v1/products?q=lap%20top+x&page_size=7&page_token=a%2Bb&utm_source=%C3%A9";
    let reply = shop.send(anonymous(Method::GET, uri, "")).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(
        reply.body,
        format!(r#"{{"products":[{LAPTOP}],"next_page_token":"next"}}"#)
    );
    assert_eq!(reply.header("cache-control"), None);
    let message = r#"GetProductsRequest { page_size: 7, page_token: "a+b", query: "lap top x" }"#;
    assert_eq!(shop.fakes.call().message, message);
}

#[tokio::test]
async fn the_service_decides_the_page_size_when_none_is_given() {
    let shop = Shop::open().await;
    let reply = shop.get("/api/v1/products").await;
    assert_eq!(reply.body, r#"{"products":[],"next_page_token":""}"#);
    let message = r#"GetProductsRequest { page_size: 0, page_token: "", query: "" }"#;
    assert_eq!(shop.fakes.call().message, message);
}

#[tokio::test]
async fn a_product_is_shown() {
    let shop = Shop::open().await;
    shop.fakes.script().product = GetProductResponse {
        product: Some(laptop()),
    };
    let reply = shop.send(anonymous(Method::GET, "/api/v1/products/1", "")).await;
    assert_eq!((reply.status.as_u16(), reply.body.as_str()), (200, LAPTOP));
    assert_eq!(shop.fakes.call().message, "GetProductRequest { id: 1 }");
}

#[tokio::test]
async fn a_head_request_has_the_headers_and_no_body() {
    let shop = Shop::open().await;
    shop.fakes.script().product = GetProductResponse {
        product: Some(laptop()),
    };
    let reply = shop.send(anonymous(Method::HEAD, "/api/v1/products/1", "")).await;
    assert_eq!((reply.status.as_u16(), reply.body.as_str()), (200, ""));
    let reply = shop.send(anonymous(Method::HEAD, "/api/v1/products/x", "")).await;
    assert_eq!((reply.status.as_u16(), reply.body.as_str()), (400, ""));
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
}

#[tokio::test]
async fn an_unknown_product_is_not_found() {
    let shop = Shop::open().await;
    shop.fakes
        .refuse(Refusal::new(Reason::ProductNotFound, "product not found"));
    let problem = shop
        .get("/api/v1/products/999999")
        .await
        .problem(404, "not_found", "PRODUCT_NOT_FOUND");
    assert_eq!(problem["detail"], "product not found");
    assert_eq!(problem["instance"], "/api/v1/products/999999");
}

#[tokio::test]
async fn an_invalid_product_id_never_reaches_the_service() {
    let shop = Shop::open().await;
    for id in [
        "0",
        "-1",
        "+1",
        "1.0",
        "abc",
        "%31%",
        "9223372036854775808",
        "99999999999999999999",
        "%ff",
        "1%20",
    ] {
        let reply = shop.get(&format!("/api/v1/products/{id}")).await;
        reply.problem(400, "invalid_product_id", "INVALID_PRODUCT_ID");
        assert_eq!(reply.error_fields(), ["product_id"], "{id}");
    }
    assert!(shop.fakes.script().calls.is_empty());
}

#[tokio::test]
async fn invalid_pages_never_reach_the_service() {
    let shop = Shop::open().await;
    for query in [
        "page_size=0",
        "page_size=101",
        "page_size=-1",
        "page_size=",
        "page_size=+5",
        "page_size=x",
        "page_size=99999999999999999999",
        "page_size=1&page_size=2",
        "q=%ff",
        "page_token=%c3%28",
        "unknown=%ff",
    ] {
        let reply = shop.get(&format!("/api/v1/products?{query}")).await;
        reply.problem(400, "invalid_argument", "INVALID_ARGUMENT");
    }
    assert!(shop.fakes.script().calls.is_empty());
}

#[tokio::test]
async fn an_invalid_query_is_refused_by_its_rest_name() {
    let shop = Shop::open().await;
    shop.fakes.refuse(Refusal::field("query", "at most 100 characters"));
    let reply = shop.get("/api/v1/products?q=long").await;
    reply.problem(400, "invalid_argument", "INVALID_ARGUMENT");
    assert_eq!(reply.error_fields(), ["q"]);
}

#[tokio::test]
async fn an_answer_without_a_required_part_is_an_internal_error() {
    let shop = Shop::open().await;
    shop.fakes.script().product = GetProductResponse {
        product: Some(Product {
            price: None,
            ..laptop()
        }),
    };
    shop.get("/api/v1/products/1")
        .await
        .problem(500, "internal_error", "INTERNAL");
}
