//! Limits on time and on requests in flight. A body is received before its request takes a place among those that are
//! worked on: a place belongs to the shop's work, not to whoever sends slowly.

use std::time::Duration;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use proto::Reason;
use runtime::places::{Full, Place, Places};
use tokio::time::timeout;

use crate::{
    Config,
    body::arrival,
    caller::{Caller, Proxied},
    problem::Problem,
};

/// Clones share the places.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Bodies that are being received; they hold memory.
    bodies: Places,
    /// Requests that are worked on.
    work: Places,
    time: Duration,
    proxied: Proxied,
}

impl Limits {
    pub(crate) fn new(config: &Config) -> Self {
        let places = || Places::new(config.max_in_flight, config.share);
        Self {
            bodies: places(),
            work: places(),
            time: config.request_timeout,
            proxied: config.proxied,
        }
    }

    /// The same places, with another limit of time.
    pub(crate) fn with_time(&self, time: Duration) -> Self {
        Self { time, ..self.clone() }
    }

    fn place(&self, places: &Places, request: &Request) -> Result<Place, Problem> {
        places
            .take(&Caller::of(request, self.proxied))
            .map_err(|full| match full {
                Full::Share => Problem::new(
                    Reason::RateLimitExceeded,
                    "too many requests of this caller are in progress",
                ),
                Full::All => Problem::of(Reason::ServiceUnavailable),
            })
    }

    async fn run(&self, mut request: Request, next: Next) -> Result<Response, Problem> {
        if arrival::is_awaited(&request) {
            let _place = self.place(&self.bodies, &request)?;
            request = arrival::received(request).await?;
        }
        let _place = self.place(&self.work, &request)?;
        timeout(self.time, next.run(request))
            .await
            .map_err(|_| Problem::of(Reason::Timeout))
    }
}

/// Works on a request if there is a place, for as long as it may take. A request that would have to wait for a place is
/// turned away: its client knows better than a queue does whether it still wants the answer.
pub(crate) async fn enforce(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    limits.run(request, next).await.unwrap_or_else(Problem::into_response)
}
