//! Every REST route.

mod tables;

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderValue, Method, header};
use serde_json::{Value, json};
use system_tests::{
    home::Profile,
    shops::{Buyer, Shop},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{NOBODYS, assert_unchanged, shop_with_history};

/// A request and its expected refusal.
struct BadRequest {
    method: Method,
    path: String,
    headers: Vec<(&'static str, HeaderValue)>,
    body: Bytes,
    status: u16,
    reason: &'static str,
}

impl BadRequest {
    fn new(method: Method, path: impl Into<String>, status: u16, reason: &'static str) -> Self {
        Self {
            method,
            path: path.into(),
            headers: Vec::new(),
            body: Bytes::new(),
            status,
            reason,
        }
    }

    fn get(path: impl Into<String>, status: u16, reason: &'static str) -> Self {
        Self::new(Method::GET, path, status, reason)
    }

    fn with(mut self, header: &'static str, value: &[u8]) -> Self {
        self.headers.push((header, HeaderValue::from_bytes(value).unwrap()));
        self
    }

    fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.with("content-type", b"application/json")
    }

    async fn send(self, buyer: &Buyer) -> Result<()> {
        let line = format!("{} {} {:?} {:.60?}", self.method, self.path, self.headers, self.body);
        let mut request = buyer.request(self.method, &self.path);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let reply = buyer.send(request.body(self.body)?).await?;
        let problem = reply.json();
        assert_eq!(
            (reply.status.as_u16(), &problem["reason"]),
            (self.status, &json!(self.reason)),
            "{line}: {problem}"
        );
        assert_eq!(
            reply.headers[header::CONTENT_TYPE],
            "application/problem+json",
            "{line}"
        );
        assert_eq!(problem["status"], self.status, "{line}");
        assert_eq!(problem["instance"].as_str(), self.path.split('?').next(), "{line}");
        assert_eq!(problem["error"], problem["detail"], "{line}");
        assert_eq!(problem["request_id"], reply.headers["x-request-id"].to_str()?, "{line}");
        assert_eq!(problem["type"], format!("/docs/errors#{}", self.reason), "{line}");
        Ok(())
    }
}

on_every_profile! {
    every_route_refuses_invalid_requests_and_changes_nothing,
    data_of_another_customer_is_reported_as_not_found,
}

async fn every_route_refuses_invalid_requests_and_changes_nothing(profile: Profile) -> Result<()> {
    let shop = shop_with_history(profile).await?;
    let resident = shop.buyer("resident")?;
    let all = [
        tables::products(),
        tables::additions(),
        tables::changes(),
        tables::checkouts(),
        tables::orders(),
    ];
    assert_unchanged(&shop, async {
        for bad in all.into_iter().flatten() {
            bad.send(&resident).await?;
        }
        let newcomer = shop.buyer("newcomer")?;
        let body = r#"{"idempotency_key":"bought"}"#;
        BadRequest::new(Method::POST, "/api/v1/checkout", 400, "CART_EMPTY")
            .body(body)
            .send(&newcomer)
            .await
    })
    .await
}

async fn data_of_another_customer_is_reported_as_not_found(profile: Profile) -> Result<()> {
    let shop = shop_with_history(profile).await?;
    let (resident, stranger) = (shop.buyer("resident")?, shop.buyer("stranger")?);
    let orders = resident.read("/api/v1/orders").await?;
    let order = orders[0]["id"].as_str().unwrap();
    let checkout = orders[0]["checkout_id"].as_str().unwrap();
    assert_unchanged(&shop, async {
        BadRequest::get(format!("/api/v1/checkout/{checkout}"), 404, "CHECKOUT_NOT_FOUND")
            .send(&stranger)
            .await?;
        BadRequest::get(format!("/api/v1/orders/{order}"), 404, "ORDER_NOT_FOUND")
            .send(&stranger)
            .await?;
        let detail = |reply: cartwright::http::HttpResponse| reply.json()["detail"].as_str().map(str::to_owned);
        let others = stranger.get(&format!("/api/v1/orders/{order}")).await?;
        let nobodys = stranger.get(&format!("/api/v1/orders/{NOBODYS}")).await?;
        assert_eq!(detail(others), Some(format!("order not found: {order}")));
        assert_eq!(detail(nobodys), Some(format!("order not found: {NOBODYS}")));
        assert_eq!(stranger.read("/api/v1/orders").await?, json!([]));
        assert_eq!(stranger.read("/api/v1/cart").await?["items"], json!([]));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn fixed_texts_are_those_of_the_contract() -> Result<()> {
    let shop = Shop::open(Profile::Embedded).await?;
    let buyer = shop.buyer("somebody")?;
    let detail = async |method: Method, path: &str, body: Option<Value>| -> Result<Value> {
        Ok(buyer.call(method, path, body.as_ref()).await?.json()["detail"].clone())
    };
    let items = "/api/v1/cart/items";
    assert_eq!(
        detail(Method::GET, "/api/v1/products/99", None).await?,
        "product not found"
    );
    let too_many = json!({"product_id": 1, "quantity": 100});
    assert_eq!(
        detail(Method::POST, items, Some(too_many)).await?,
        "quantity must be between 1 and 99"
    );
    let set = json!({"quantity": 1});
    assert_eq!(
        detail(Method::PUT, "/api/v1/cart/items/1", Some(set)).await?,
        "item not found in cart"
    );
    assert_eq!(
        detail(Method::POST, "/api/v1/checkout", None).await?,
        "idempotency_key is required"
    );
    let key = json!({"idempotency_key": "k"});
    assert_eq!(
        detail(Method::POST, "/api/v1/checkout", Some(key)).await?,
        "cart is empty"
    );
    assert_eq!(
        detail(Method::GET, "/api/v1/orders/x%20y", None).await?,
        "invalid order_id: x y"
    );
    Ok(())
}

#[tokio::test]
async fn malformed_http_is_answered_with_a_4xx_status() -> Result<()> {
    let shop = Shop::open(Profile::Embedded).await?;
    let address = shop.anonymous()?.gateway();
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(100_000));
    let wide = format!("GET /health HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(1_000));
    for sent in [
        "garbage\r\n\r\n",
        "GET /health HTTP/9.9\r\n\r\n",
        "GET /health HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        "GET /health HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "POST /api/v1/checkout HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        long.as_str(),
        wide.as_str(),
    ] {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(sent.as_bytes()).await?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await?;
        let head = String::from_utf8_lossy(&head).into_owned();
        assert!(head.starts_with("HTTP/1.1 4"), "{head} for {sent:.60}");
    }
    assert_eq!(shop.anonymous()?.read("/health").await?, json!({"status": "ok"}));
    Ok(())
}
