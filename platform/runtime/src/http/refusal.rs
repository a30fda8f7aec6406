//! Answers to requests that do not reach the router, or whose own answer needs more memory than is left.

use std::io;

use axum::body::Body;
use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, DATE},
};
use jiff::fmt::rfc2822;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{REQUEST_ID_HEADER, Runtime, permits::LimitReached};

/// The largest request head, in bytes. `docs/errors.md` names this limit.
pub(super) const MAX_HEAD: usize = 32 * 1024;

/// Why a request did not reach the router, or its answer was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The request line is too long.
    UriTooLong,
    HeadTooLarge,
    /// The request is not HTTP/1.
    NotHttp,
    /// The head did not arrive in time.
    HeadTooSlow,
    /// The limit of connections is reached.
    TooManyConnections(LimitReached),
    /// Unread answers use up the memory.
    MemoryLimit,
}

/// Renders a refusal: status, headers and body. `path` is `/` if it is unknown.
pub type RenderRefusal = fn(Refused, path: &str, request_id: &str) -> Response<Bytes>;

/// Why hyper refused a head. `answer` is hyper's own answer, `unread` the bytes that hyper could not parse.
pub(super) fn reason(answer: &[u8], unread: &[u8]) -> Refused {
    let status = answer.get(9..12).and_then(|code| StatusCode::from_bytes(code).ok());
    let line = unread.iter().position(|byte| *byte == b'\n').unwrap_or(unread.len());
    match status {
        Some(StatusCode::URI_TOO_LONG) => Refused::UriTooLong,
        // The request line alone exceeds the limit of the head.
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) if line >= MAX_HEAD => Refused::UriTooLong,
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) => Refused::HeadTooLarge,
        Some(_) | None => Refused::NotHttp,
    }
}

/// The refusal that replaces an answer when memory is short.
pub(super) fn in_place_of(answer: &Response<Body>, path: &str, render_refusal: RenderRefusal) -> Response<Body> {
    let id = answer.headers().get(&REQUEST_ID_HEADER);
    let text = id.and_then(|id| id.to_str().ok()).unwrap_or_default();
    let mut refusal = render_refusal(Refused::MemoryLimit, path, text).map(Body::from);
    if let Some(id) = id {
        refusal.headers_mut().insert(REQUEST_ID_HEADER, id.clone());
    }
    refusal
}

/// Sends the refusal as the last answer on the connection.
pub(super) async fn send(
    stream: &mut TcpStream,
    why: Refused,
    render_refusal: RenderRefusal,
    runtime: &Runtime,
) -> io::Result<()> {
    stream.write_all(&to_bytes(why, render_refusal, runtime)).await?;
    stream.shutdown().await
}

/// The refusal as HTTP/1 bytes. The path of an unreadable request is unknown.
pub(super) fn to_bytes(why: Refused, render_refusal: RenderRefusal, runtime: &Runtime) -> Vec<u8> {
    let request_id = runtime.ids.next().to_string();
    let mut refusal = render_refusal(why, "/", &request_id);
    let length = refusal.body().len();
    let headers = refusal.headers_mut();
    headers.insert(CONTENT_LENGTH, length.into());
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let date = rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&runtime.clock.now());
    let date = date.ok().and_then(|date| HeaderValue::try_from(date).ok());
    let id = HeaderValue::try_from(request_id).ok();
    for (name, value) in [(DATE, date), (REQUEST_ID_HEADER, id)] {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
    let mut answer = format!("HTTP/1.1 {}\r\n", refusal.status()).into_bytes();
    for (name, value) in refusal.headers() {
        answer.extend_from_slice(name.as_str().as_bytes());
        answer.extend_from_slice(b": ");
        answer.extend_from_slice(value.as_bytes());
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(b"\r\n");
    answer.extend_from_slice(refusal.body());
    answer
}
