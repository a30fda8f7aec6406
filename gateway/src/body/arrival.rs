//! How bodies come in: whole, not too large, and not too slowly.

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
const LIMIT: usize = 64 * 1024;
/// A body over the limit is read up to here and thrown away: a client that is still sending reads no answer.
const DISCARDED: usize = 1024 * 1024;
/// A body has this long, and then a second more for each [`SPEED`] bytes that have come: the lowest speed that a body may
/// have. `docs/errors.md` names both.
const GRACE: Duration = Duration::from_secs(5);
const SPEED: u64 = 8 * 1024;

/// Whether there is a body that has to be waited for.
pub(crate) fn is_awaited(request: &Request) -> bool {
    // The routes of all other methods take none.
    let takes_one = [Method::POST, Method::PUT].contains(request.method());
    takes_one && !request.body().is_end_stream()
}

/// The request with its whole body, of at most [`LIMIT`] bytes. A body that comes slower than it may is given up.
pub(crate) async fn received(request: Request) -> Result<Request, Problem> {
    let (parts, body) = request.into_parts();
    let bytes = read(body).await?;
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

async fn read(mut body: Body) -> Result<Bytes, Problem> {
    let discarded = u64::try_from(DISCARDED).unwrap_or(u64::MAX);
    if body.size_hint().lower() > discarded {
        return Err(too_large());
    }
    let began = Instant::now();
    let (mut bytes, mut seen) = (Vec::new(), 0_usize);
    loop {
        let due = began + time_for(seen);
        let next = timeout_at(due, body.frame()).await.map_err(|_| too_slow())?;
        let Some(frame) = next else { break };
        let Ok(data) = frame.map_err(|_| broken_off())?.into_data() else {
            continue;
        };
        seen = seen.saturating_add(data.len());
        if seen > DISCARDED {
            return Err(too_large());
        }
        if seen <= LIMIT {
            bytes.extend_from_slice(&data);
        }
    }
    if seen > LIMIT {
        Err(too_large())
    } else {
        Ok(bytes.into())
    }
}

/// How long a body may have taken after so many bytes.
fn time_for(seen: usize) -> Duration {
    let counted = u64::try_from(seen.min(LIMIT)).unwrap_or_default();
    GRACE + Duration::from_millis(counted.saturating_mul(1000) / SPEED)
}

fn too_large() -> Problem {
    Problem::new(Reason::PayloadTooLarge, "the body must not be larger than 64 KiB")
}

fn too_slow() -> Problem {
    Problem::new(Reason::RequestTimeout, "the body came too slowly")
}

pub(super) fn broken_off() -> Problem {
    Problem::new(Reason::InvalidRequest, "the body ended too early")
}
