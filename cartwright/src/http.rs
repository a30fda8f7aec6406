//! A small HTTP client for `demo` and the tests: JSON, one connection per call.

use std::net::SocketAddr;

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

#[derive(Debug, Clone)]
pub struct HttpResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl HttpResponse {
    /// The body as JSON; null if the body is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// Sends a request as it is, and reads the whole response.
pub async fn send(address: SocketAddr, request: Request<Bytes>) -> anyhow::Result<HttpResponse> {
    let stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("{address} does not answer"))?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let response = sender.send_request(request.map(Full::new)).await?;
        let (parts, body) = response.into_parts();
        anyhow::Ok(HttpResponse {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await?.to_bytes(),
        })
    };
    tokio::pin!(exchange);
    tokio::select! {
        reply = &mut exchange => reply,
        // The server closed the connection: what it sent before can still be read.
        _ = connection => exchange.await,
    }
}

/// A customer of a shop.
#[derive(Debug, Clone)]
pub struct Customer {
    pub gateway: SocketAddr,
    pub token: Option<String>,
}

impl Customer {
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<HttpResponse> {
        send(self.gateway, self.request(method, path, body)?).await
    }

    /// The request that [`Customer::call`] sends.
    pub fn request(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Request<Bytes>> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.gateway.to_string());
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        Ok(request.body(body.into())?)
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<HttpResponse> {
        self.call(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<HttpResponse> {
        self.call(Method::POST, path, Some(body)).await
    }
}
