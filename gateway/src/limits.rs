//! Limits on time and on requests in flight. A body is received before its request takes a place among those that are
//! worked on: a place belongs to the shop's work, not to whoever sends slowly.

use std::time::Duration;

use axum::{
    extract::{Request, State},
    http::Uri,
    middleware::Next,
    response::{IntoResponse, Response},
};
use proto::Reason;
use runtime::permits::{LimitReached, Permit, Permits};
use tokio::time::timeout;

use crate::{
    Config,
    body::arrival,
    caller::{Caller, Proxied},
    problem::Problem,
    routes::products,
};

/// Searches that are worked on at the same time: anybody may search, without a token, and nobody pays for it. The catalogue
/// works on fewer, and lets the others wait.
const SEARCHES: usize = 32;
/// How many of these one address may have.
const SEARCH_SHARE: usize = SEARCHES / 2;

/// Clones share the places.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Bodies that are being received; they hold memory.
    bodies: Permits,
    /// Requests that are worked on.
    work: Permits,
    /// Those of them that search for words.
    searches: Permits,
    time: Duration,
    proxied: Proxied,
}

impl Limits {
    pub(crate) fn new(config: &Config) -> Self {
        let places = || Permits::new(config.max_in_flight, config.share);
        Self {
            bodies: places(),
            work: places(),
            searches: Permits::new(SEARCHES, SEARCH_SHARE),
            time: config.request_timeout,
            proxied: config.proxied,
        }
    }

    /// The same places, with another limit of time.
    pub(crate) fn with_time(&self, time: Duration) -> Self {
        Self { time, ..self.clone() }
    }

    fn place(&self, places: &Permits, request: &Request) -> Result<Permit, Problem> {
        places
            .try_acquire(&Caller::of(request, self.proxied))
            .map_err(|full| match full {
                LimitReached::PerCaller => Problem::new(
                    Reason::RateLimitExceeded,
                    "too many requests of this caller are in progress",
                ),
                LimitReached::Total => Problem::of(Reason::ServiceUnavailable),
            })
    }

    async fn run(&self, mut request: Request, next: Next) -> Result<Response, Problem> {
        if arrival::is_awaited(&request) {
            let _place = self.place(&self.bodies, &request)?;
            request = arrival::received(request).await?;
        }
        let searches = is_search(request.uri()).then_some(&self.searches);
        let _search = searches.map(|places| self.place(places, &request)).transpose()?;
        let _place = self.place(&self.work, &request)?;
        timeout(self.time, next.run(request))
            .await
            .map_err(|_| Problem::of(Reason::Timeout))
    }
}

/// Whether it asks for more than a page of the whole catalogue. What is written in another way, as `%71=desk`, counts as a search.
fn is_search(uri: &Uri) -> bool {
    let pairs = uri.query().unwrap_or_default().split('&');
    let mut keys = pairs.map(|pair| pair.split('=').next().unwrap_or_default());
    uri.path() == products::LIST && keys.any(|key| !matches!(key, "" | "page_size" | "page_token"))
}

/// Works on a request if there is a place, for as long as it may take. A request that would have to wait for a place is
/// turned away: its client knows better than a queue does whether it still wants the answer.
pub(crate) async fn enforce(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    limits.run(request, next).await.unwrap_or_else(Problem::into_response)
}
