//! Receives request bodies, with limits on size and speed.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::Method,
};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use proto::Reason;
use tokio::time::{Instant, timeout_at};

use crate::problem::Problem;

/// The largest body, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// A larger body is read and discarded up to this size: a client that is still sending does not read the answer.
const MAX_DISCARDED: usize = 1024 * 1024;
/// A body has this time, plus a second for each [`MIN_BYTES_PER_SECOND`] received. `docs/errors.md` names both.
const GRACE: Duration = Duration::from_secs(5);
const MIN_BYTES_PER_SECOND: u64 = 8 * 1024;

/// Whether the request has a body that its route reads.
pub(crate) fn has_body(request: &Request) -> bool {
    // Routes of other methods read no body.
    let takes_body = [Method::POST, Method::PUT].contains(request.method());
    takes_body && !request.body().is_end_stream()
}

/// Receives the whole body, of at most [`MAX_BODY`] bytes. Refuses a body that is too slow.
pub(crate) async fn receive(request: Request) -> Result<Request, Problem> {
    let (parts, body) = request.into_parts();
    let bytes = read(body).await?;
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

async fn read(mut body: Body) -> Result<Bytes, Problem> {
    let discarded = u64::try_from(MAX_DISCARDED).unwrap_or(u64::MAX);
    if body.size_hint().lower() > discarded {
        return Err(too_large());
    }
    let began = Instant::now();
    let (mut bytes, mut received) = (Vec::new(), 0_usize);
    loop {
        let deadline = began + time_allowed(received);
        let next = timeout_at(deadline, body.frame()).await.map_err(|_| too_slow())?;
        let Some(frame) = next else { break };
        let Ok(data) = frame.map_err(|_| truncated())?.into_data() else {
            continue;
        };
        received = received.saturating_add(data.len());
        if received > MAX_DISCARDED {
            return Err(too_large());
        }
        if received <= MAX_BODY {
            bytes.extend_from_slice(&data);
        }
    }
    if received > MAX_BODY {
        Err(too_large())
    } else {
        Ok(bytes.into())
    }
}

/// The time that a body may have taken for so many bytes. Discarded bytes give no time.
fn time_allowed(received: usize) -> Duration {
    let counted = u64::try_from(received.min(MAX_BODY)).unwrap_or_default();
    GRACE + Duration::from_millis(counted.saturating_mul(1000) / MIN_BYTES_PER_SECOND)
}

fn too_large() -> Problem {
    Problem::new(Reason::PayloadTooLarge, "the body must not be larger than 64 KiB")
}

fn too_slow() -> Problem {
    Problem::new(Reason::RequestTimeout, "the body came too slowly")
}

pub(super) fn truncated() -> Problem {
    Problem::new(Reason::InvalidRequest, "the body ended too early")
}
