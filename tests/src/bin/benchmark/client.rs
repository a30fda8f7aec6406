//! A customer with one persistent connection.

use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use cartwright::http::Customer;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

pub(crate) struct Client {
    pub(crate) customer: Customer,
    connection: SendRequest<Full<Bytes>>,
}

impl Client {
    pub(crate) async fn connect(customer: Customer) -> anyhow::Result<Self> {
        let stream = tokio::net::TcpStream::connect(customer.gateway).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        #[allow(clippy::disallowed_methods, reason = "ends with its connection")]
        tokio::spawn(connection);
        Ok(Self {
            customer,
            connection: sender,
        })
    }

    pub(crate) async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let request = self.customer.request(method, path, body)?;
        self.connection.ready().await?;
        let response = self.connection.send_request(request.map(Full::new)).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, serde_json::from_slice(&body)?))
    }

    pub(crate) async fn add_to_cart(&mut self, product: i64) -> anyhow::Result<()> {
        let item = json!({"product_id": product, "quantity": 1});
        let (status, cart) = self.call(Method::POST, "/api/v1/cart/items", Some(&item)).await?;
        ensure!(status.is_success(), "{cart}");
        Ok(())
    }

    /// Puts one piece into the cart and buys it; returns the duration of the checkout request.
    pub(crate) async fn buy(&mut self, product: i64, key: &str) -> anyhow::Result<Duration> {
        self.add_to_cart(product).await?;
        let purchase = json!({"idempotency_key": key});
        let began = Instant::now();
        let (_, checkout) = self.call(Method::POST, "/api/v1/checkout", Some(&purchase)).await?;
        let took = began.elapsed();
        ensure!(checkout["status"] == "COMPLETED", "{checkout}");
        Ok(took)
    }
}
