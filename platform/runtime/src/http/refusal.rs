//! What is said of requests that never come to the router: hyper answers a head that it cannot read, nobody answers one that
//! does not end, and there may be no room for a connection or for an answer.

use std::io;

use axum::body::Body;
use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, DATE},
};
use jiff::fmt::rfc2822;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{REQUEST_ID_HEADER, Runtime, places::Full};

/// The largest head of a request, in bytes. `docs/errors.md` names it.
pub(super) const MAX_HEAD: usize = 32 * 1024;

/// Why a request did not come to the router, or its answer did not go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Its first line is too long.
    UriTooLong,
    HeadTooLarge,
    /// It is no request of HTTP/1.
    NotHttp,
    /// Its head did not end in time.
    HeadTooSlow,
    /// Its connection is one too many.
    NoPlace(Full),
    /// There is no room for its answer while so many others have not been taken.
    NoRoom,
}

/// Says why in the words of a port: status, headers and body. `path` is `/` where it is not known.
pub type Refusals = fn(Refused, path: &str, request_id: &str) -> Response<Bytes>;

/// Why hyper refused a head. `answer` is what hyper would have said, `unread` what it could not read.
pub(super) fn of(answer: &[u8], unread: &[u8]) -> Refused {
    let status = answer.get(9..12).and_then(|code| StatusCode::from_bytes(code).ok());
    let line = unread.iter().position(|byte| *byte == b'\n').unwrap_or(unread.len());
    match status {
        Some(StatusCode::URI_TOO_LONG) => Refused::UriTooLong,
        // The first line alone is more than all that a head may have.
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) if line >= MAX_HEAD => Refused::UriTooLong,
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) => Refused::HeadTooLarge,
        Some(_) | None => Refused::NotHttp,
    }
}

/// What is said in place of an answer for which there is no room.
pub(super) fn in_place_of(answer: &Response<Body>, path: &str, refusals: Refusals) -> Response<Body> {
    let id = answer.headers().get(&REQUEST_ID_HEADER);
    let text = id.and_then(|id| id.to_str().ok()).unwrap_or_default();
    let mut refusal = refusals(Refused::NoRoom, path, text).map(Body::from);
    if let Some(id) = id {
        refusal.headers_mut().insert(REQUEST_ID_HEADER, id.clone());
    }
    refusal
}

/// Answers with the refusal, as the last that is said on the connection.
pub(super) async fn send(
    stream: &mut TcpStream,
    why: Refused,
    refusals: Refusals,
    runtime: &Runtime,
) -> io::Result<()> {
    stream.write_all(&whole(why, refusals, runtime)).await?;
    stream.shutdown().await
}

/// The answer as it goes over the wire. The path of a request that could not be read is not known.
pub(super) fn whole(why: Refused, refusals: Refusals, runtime: &Runtime) -> Vec<u8> {
    let request_id = runtime.ids.next().to_string();
    let mut refusal = refusals(why, "/", &request_id);
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
