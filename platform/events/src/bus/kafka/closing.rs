//! Closes clients on threads of their own: closing may take seconds if the broker is down or must be notified.

use std::{
    ops::Deref,
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use tokio::runtime::Handle;

/// How long a process that ends waits for a client to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that is closed on a thread of its own. The shutdown of the runtime waits for that, up to [`CLOSE_TIMEOUT`],
/// so that a member has left its group before the process ends.
pub(super) struct BackgroundClose<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> BackgroundClose<T> {
    pub(super) fn new(client: T) -> Self {
        Self(Some(client))
    }
}

impl<T: Send + 'static> Deref for BackgroundClose<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(client) => client,
            None => unreachable!("only the drop takes it"),
        }
    }
}

impl<T: Send + 'static> Drop for BackgroundClose<T> {
    fn drop(&mut self) {
        let client = self.0.take();
        let closed = WaitOnDrop(start(move || drop(client)));
        if let Ok(runtime) = Handle::try_current() {
            // A runtime that is shutting down drops the closure without running it, and so waits here.
            drop(runtime.spawn_blocking(move || drop(closed)));
        }
    }
}

/// Waits on drop until a client is closed.
struct WaitOnDrop(Receiver<()>);

impl Drop for WaitOnDrop {
    fn drop(&mut self) {
        if self.0.recv_timeout(CLOSE_TIMEOUT).is_err() {
            tracing::warn!("a client of Kafka did not close in time and is left behind");
        }
    }
}

/// Runs work on a thread of its own; `None` after the timeout. Some calls of librdkafka may never return. Blocks.
pub(super) fn with_timeout<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    start(work).recv_timeout(limit).ok()
}

/// Runs work on a thread of its own, and returns the receiver of its result.
fn start<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (done, is_done) = mpsc::channel();
    let thread = thread::Builder::new().name("kafka".to_owned()).spawn(move || {
        let result = work();
        // Fails if the receiver has timed out.
        let _ = done.send(result);
    });
    if let Err(error) = thread {
        tracing::warn!(%error, "no thread for a client of Kafka");
    }
    is_done
}
