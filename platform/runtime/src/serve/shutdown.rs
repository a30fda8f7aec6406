//! Graceful shutdown of a server: calls in flight are finished, everything else is closed.

use std::time::Duration;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long a client may take to send the rest of a request, or to close its connection, after a stop began.
const SEND_THE_REST: Duration = Duration::from_millis(500);
/// How long a client may take to read an answer that is ready.
const TAKE_THE_ANSWER: Duration = Duration::from_secs(2);

/// The shutdown state that the connections and calls of one server share.
#[derive(Debug, Clone, Default)]
pub(super) struct Shutdown {
    /// No more connections and calls; streams end, connections send GOAWAY.
    pub(super) stop: CancellationToken,
    /// Incomplete requests fail.
    pub(super) reject_incomplete: CancellationToken,
    /// Remaining connections are closed.
    pub(super) abort: CancellationToken,
    /// Calls whose answer is not yet sent.
    pub(super) in_flight: TaskTracker,
}

impl Shutdown {
    /// After the stop began: closes the remaining connections when no call is in flight.
    pub(super) async fn abort_when_idle(&self) {
        self.in_flight.close();
        tokio::time::sleep(SEND_THE_REST).await;
        self.reject_incomplete.cancel();
        if !self.in_flight.is_empty() {
            self.in_flight.wait().await;
            // The connection has just been given the last answer.
            tokio::time::sleep(TAKE_THE_ANSWER).await;
        }
        self.abort.cancel();
    }
}
