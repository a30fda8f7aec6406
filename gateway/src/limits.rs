//! Limits on time and on requests in flight.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use proto::Reason;
use tokio::{sync::Semaphore, time::timeout};

use crate::problem::Problem;

/// Clones share the number in flight.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    places: Arc<Semaphore>,
    time: Duration,
}

impl Limits {
    pub(crate) fn new(in_flight: usize, time: Duration) -> Self {
        Self {
            places: Arc::new(Semaphore::new(in_flight.min(Semaphore::MAX_PERMITS))),
            time,
        }
    }

    /// The same places, with another limit of time.
    pub(crate) fn with_time(&self, time: Duration) -> Self {
        Self { time, ..self.clone() }
    }
}

/// Works on a request if there is a place, for as long as it may take. A request that would have to wait for a place is
/// turned away: its client knows better than a queue does whether it still wants the answer.
pub(crate) async fn enforce(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let Ok(_place) = limits.places.try_acquire() else {
        return Problem::of(Reason::ServiceUnavailable).into_response();
    };
    match timeout(limits.time, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::of(Reason::Timeout).into_response(),
    }
}
