//! A customer of the REST interface.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, bail, ensure};
use cartwright::http::{Customer, HttpResponse, send};
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tokio::time::Instant;

/// How long a customer retries.
const TIMEOUT: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(20);

/// A customer of a shop, or a client without a token.
#[derive(Debug, Clone)]
pub struct Buyer {
    pub name: String,
    http: Customer,
    /// Sent with every checkout.
    request_id: Option<String>,
}

impl Buyer {
    pub(super) fn new(name: &str, gateway: SocketAddr, token: Option<String>) -> Self {
        let http = Customer { gateway, token };
        Self {
            name: name.to_owned(),
            http,
            request_id: None,
        }
    }

    /// The same customer, whose checkouts carry this request id, by which a [`super::FaultPlan`] finds their calls.
    #[must_use]
    pub fn with_request_id(mut self, request_id: &str) -> Self {
        self.request_id = Some(request_id.to_owned());
        self
    }

    pub const fn gateway(&self) -> SocketAddr {
        self.http.gateway
    }

    /// The value of the `Authorization` header.
    pub fn authorization(&self) -> String {
        format!("Bearer {}", self.http.token.as_deref().unwrap_or_default())
    }

    /// A request of this customer, to be changed before it is sent.
    pub fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.gateway().to_string());
        match &self.http.token {
            Some(_) => request.header(header::AUTHORIZATION, self.authorization()),
            None => request,
        }
    }

    pub async fn send(&self, request: Request<bytes::Bytes>) -> Result<HttpResponse> {
        send(self.gateway(), request).await
    }

    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<HttpResponse> {
        self.http.call(method, path, body).await
    }

    pub async fn get(&self, path: &str) -> Result<HttpResponse> {
        self.http.get(path).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<HttpResponse> {
        self.http.post(path, body).await
    }

    /// The body of a GET that must succeed.
    pub async fn read(&self, path: &str) -> Result<Value> {
        let reply = self.get(path).await?;
        ensure!(reply.status == StatusCode::OK, "GET {path}: {reply:?}");
        Ok(reply.json())
    }

    /// Puts pieces of a product into the cart; retries while the shop answers 503.
    pub async fn add(&self, product: i64, quantity: i64) -> Result<()> {
        let body = json!({"product_id": product, "quantity": quantity});
        let until = Instant::now() + TIMEOUT;
        loop {
            match self.post("/api/v1/cart/items", &body).await?.status {
                StatusCode::CREATED | StatusCode::OK => return Ok(()),
                StatusCode::SERVICE_UNAVAILABLE if Instant::now() < until => tokio::time::sleep(PAUSE).await,
                other => bail!("{} could not put product {product} into the cart: {other}", self.name),
            }
        }
    }

    /// One attempt to buy what is in the cart.
    pub async fn checkout(&self, key: &str, method: &str) -> Result<HttpResponse> {
        let body = json!({"idempotency_key": key, "payment_method": method}).to_string();
        let mut request = self
            .request(Method::POST, "/api/v1/checkout")
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(id) = &self.request_id {
            request = request.header("x-request-id", id);
        }
        self.send(request.body(body.into())?).await
    }

    /// Buys what is in the cart, and retries with the same key until the saga has ended.
    pub async fn buy(&self, key: &str, method: &str) -> Result<Value> {
        let until = Instant::now() + TIMEOUT;
        loop {
            match self.checkout(key, method).await {
                Ok(reply) if reply.status == StatusCode::CREATED => return Ok(reply.json()),
                Ok(reply) if is_pending(reply.status) => {}
                Ok(reply) => bail!("{} could not buy: {reply:?}", self.name),
                // A refused or lost connection leaves the outcome unknown.
                Err(_) => {}
            }
            ensure!(Instant::now() < until, "{} has no answer after {TIMEOUT:?}", self.name);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Puts one product into the cart and buys it.
    pub async fn buy_one(&self, product: i64, quantity: i64, key: &str, method: &str) -> Result<Value> {
        self.add(product, quantity).await?;
        self.buy(key, method).await
    }
}

/// Whether a retry may get another answer.
const fn is_pending(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::ACCEPTED | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}
