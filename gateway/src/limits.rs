//! Timeouts, and limits on requests in flight. While its body is received, a request holds a body permit. After the
//! release of that permit, a search acquires a search permit, and every request acquires a request permit. So a slow
//! sender holds no request permit.

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
    body::receive,
    caller::{Caller, ForwardedFor},
    problem::Problem,
    routes::products,
};

/// The most searches at once: anyone can search, without a token. The product service runs fewer at once, and queues
/// the rest.
const MAX_SEARCHES: usize = 32;
/// The most searches of one caller.
const MAX_SEARCHES_PER_CALLER: usize = MAX_SEARCHES / 2;

/// Clones share the permits.
#[derive(Debug, Clone)]
pub(crate) struct RequestLimits {
    /// For bodies that are being received: they hold memory.
    bodies: Permits,
    /// For requests that are being processed.
    requests: Permits,
    /// For searches, in addition.
    searches: Permits,
    timeout: Duration,
    forwarded_for: ForwardedFor,
}

impl RequestLimits {
    pub(crate) fn new(config: &Config) -> Self {
        let permits = || Permits::new(config.max_in_flight, config.max_per_caller);
        Self {
            bodies: permits(),
            requests: permits(),
            searches: Permits::new(MAX_SEARCHES, MAX_SEARCHES_PER_CALLER),
            timeout: config.request_timeout,
            forwarded_for: config.forwarded_for,
        }
    }

    /// The same permits with another timeout.
    pub(crate) fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            timeout,
            ..self.clone()
        }
    }

    fn acquire(&self, permits: &Permits, request: &Request) -> Result<Permit, Problem> {
        permits
            .try_acquire(&Caller::of(request, self.forwarded_for))
            .map_err(|reached| match reached {
                LimitReached::PerCaller => Problem::new(
                    Reason::RateLimitExceeded,
                    "too many requests of this caller are in progress",
                ),
                LimitReached::Total => Problem::of(Reason::ServiceUnavailable),
            })
    }

    async fn run(&self, mut request: Request, next: Next) -> Result<Response, Problem> {
        if receive::has_body(&request) {
            let _permit = self.acquire(&self.bodies, &request)?;
            request = receive::receive(request).await?;
        }
        let searches = is_search(request.uri()).then_some(&self.searches);
        let _search_permit = searches.map(|permits| self.acquire(permits, &request)).transpose()?;
        let _permit = self.acquire(&self.requests, &request)?;
        timeout(self.timeout, next.run(request))
            .await
            .map_err(|_| Problem::of(Reason::Timeout))
    }
}

/// Whether the request lists products with a parameter besides `page_size` and `page_token`. An escaped name of a
/// parameter, such as `%71` for `q`, counts as a search, too.
fn is_search(uri: &Uri) -> bool {
    let pairs = uri.query().unwrap_or_default().split('&');
    let mut keys = pairs.map(|pair| pair.split('=').next().unwrap_or_default());
    uri.path() == products::LIST && keys.any(|key| !matches!(key, "" | "page_size" | "page_token"))
}

/// Processes a request if permits are free, and refuses it otherwise. The timeout starts after the body is received.
/// The gateway queues no request: the client knows better than a queue whether it still wants the answer.
pub(crate) async fn enforce(State(limits): State<RequestLimits>, request: Request, next: Next) -> Response {
    limits.run(request, next).await.unwrap_or_else(Problem::into_response)
}
