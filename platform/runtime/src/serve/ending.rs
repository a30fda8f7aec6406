//! How a server ends: what is in flight is finished, everything else is closed.

use std::time::Duration;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long a client may take, once a stop has begun, to send the rest of a request, or to close its connection.
const SEND_THE_REST: Duration = Duration::from_millis(500);
/// How long a client may take for an answer that is ready.
const TAKE_THE_ANSWER: Duration = Duration::from_secs(2);

/// What the connections and calls of one server know of its end.
#[derive(Debug, Clone, Default)]
pub(super) struct Ending {
    /// No more connections and calls are taken; streams end, connections say goodbye.
    pub(super) stop: CancellationToken,
    /// Requests that have not arrived whole are not waited for any longer.
    pub(super) late: CancellationToken,
    /// Connections that are still there are cut.
    pub(super) cut: CancellationToken,
    /// Calls whose answer is not yet on its way.
    pub(super) in_flight: TaskTracker,
}

impl Ending {
    /// After the stop has begun: cuts the connections that are still there when nothing is in flight.
    pub(super) async fn cut_idle(&self) {
        self.in_flight.close();
        tokio::time::sleep(SEND_THE_REST).await;
        self.late.cancel();
        if !self.in_flight.is_empty() {
            self.in_flight.wait().await;
            // The last answer has just been given to the connection.
            tokio::time::sleep(TAKE_THE_ANSWER).await;
        }
        self.cut.cancel();
    }
}
