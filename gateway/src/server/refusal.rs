//! Problems for requests that never come to the router: hyper answers a head that it cannot read, and nobody answers one
//! that does not end.

use std::io;

use axum::{
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{CONNECTION, CONTENT_LENGTH, DATE},
    },
    response::{IntoResponse, Response},
};
use jiff::{Timestamp, fmt::rfc2822};
use proto::Reason;
use runtime::{REQUEST_ID_HEADER, Runtime, places::Full};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::problem::Problem;

/// The largest head of a request, in bytes. `docs/errors.md` names it.
pub(super) const MAX_HEAD: usize = 32 * 1024;

/// The problem of a head that hyper refused. `answer` is what hyper would have said, `unread` what it could not read.
pub(super) fn of(answer: &[u8], unread: &[u8]) -> Problem {
    let status = answer.get(9..12).and_then(|code| StatusCode::from_bytes(code).ok());
    let line = unread.iter().position(|byte| *byte == b'\n').unwrap_or(unread.len());
    match status {
        Some(StatusCode::URI_TOO_LONG) => Problem::of(Reason::UriTooLong),
        // The first line alone is more than all that a head may have.
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) if line >= MAX_HEAD => Problem::of(Reason::UriTooLong),
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) => Problem::of(Reason::HeadersTooLarge),
        Some(_) | None => Problem::new(Reason::InvalidRequest, "the request is not valid HTTP"),
    }
}

/// The problem of a head that did not end.
pub(super) fn too_slow() -> Problem {
    Problem::new(Reason::RequestTimeout, "the head of the request came too slowly")
}

/// What a connection is told that is one too many, before it has said anything.
pub(super) fn at_the_door(full: Full, runtime: &Runtime) -> Vec<u8> {
    let problem = match full {
        Full::Share => Problem::new(Reason::RateLimitExceeded, "too many connections from this address"),
        Full::All => Problem::of(Reason::ServiceUnavailable),
    };
    whole(&problem, &runtime.ids.next().to_string(), runtime.clock.now())
}

/// What is said in place of an answer for which there is no room.
pub(super) fn in_place_of(answer: &Response, path: &str) -> Response {
    let problem = Problem::of(Reason::ServiceUnavailable);
    let request_id = answer.headers().get(&REQUEST_ID_HEADER);
    let mut refusal = problem.status().into_response();
    problem.show(
        &mut refusal,
        path,
        request_id.and_then(|id| id.to_str().ok()).unwrap_or_default(),
    );
    if let Some(id) = request_id {
        refusal.headers_mut().insert(REQUEST_ID_HEADER, id.clone());
    }
    refusal
}

/// Answers with the problem, as the last that is said on the connection.
pub(super) async fn send(stream: &mut TcpStream, problem: &Problem, runtime: &Runtime) -> io::Result<()> {
    let answer = whole(problem, &runtime.ids.next().to_string(), runtime.clock.now());
    stream.write_all(&answer).await?;
    stream.shutdown().await
}

/// The answer as it goes over the wire. The path of a request that could not be read is not known.
fn whole(problem: &Problem, request_id: &str, at: Timestamp) -> Vec<u8> {
    let body = problem.document("/", request_id);
    let mut headers = HeaderMap::new();
    problem.write_to(&mut headers);
    headers.insert(CONTENT_LENGTH, body.len().into());
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let date = rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).ok();
    let more: [(HeaderName, Option<&str>); 2] = [(DATE, date.as_deref()), (REQUEST_ID_HEADER, Some(request_id))];
    for (name, value) in more {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(name, value);
        }
    }
    let mut answer = format!("HTTP/1.1 {}\r\n", problem.status()).into_bytes();
    for (name, value) in &headers {
        answer.extend_from_slice(name.as_str().as_bytes());
        answer.extend_from_slice(b": ");
        answer.extend_from_slice(value.as_bytes());
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(b"\r\n");
    answer.extend_from_slice(&body);
    answer
}
