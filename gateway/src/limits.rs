//! Limits on time and on requests in flight. A body is received before its request takes a place among those that are
//! worked on: a place belongs to the shop's work, not to whoever sends slowly.

use std::time::Duration;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use proto::Reason;
use tokio::time::timeout;

use crate::{body::arrival, caller::Caller, problem::Problem};

mod places;

use places::Places;

/// Clones share the places.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Bodies that are being received; they hold memory.
    bodies: Places,
    /// Requests that are worked on.
    work: Places,
    time: Duration,
}

impl Limits {
    /// `in_flight` bodies and as many requests at the same time, `share` of either for one caller.
    pub(crate) fn new(in_flight: usize, share: usize, time: Duration) -> Self {
        Self {
            bodies: Places::new(in_flight, share),
            work: Places::new(in_flight, share),
            time,
        }
    }

    /// The same places, with another limit of time.
    pub(crate) fn with_time(&self, time: Duration) -> Self {
        Self { time, ..self.clone() }
    }

    async fn run(&self, mut request: Request, next: Next) -> Result<Response, Problem> {
        if arrival::is_awaited(&request) {
            let _place = self.bodies.take(&Caller::of(&request))?;
            request = arrival::received(request).await?;
        }
        let _place = self.work.take(&Caller::of(&request))?;
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
