//! Closing clients: it takes librdkafka up to seconds, when the broker is away or has to be told something.

use std::{
    ops::Deref,
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use tokio::runtime::Handle;

/// How long a process that ends waits for a client that does not close.
const LIMIT: Duration = Duration::from_secs(10);

/// A client that is closed away from the asynchronous threads. The end of the runtime waits for that, so that a member of a
/// group that stops has left it before its process is gone; but not for ever.
pub(super) struct Closing<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Closing<T> {
    pub(super) fn new(client: T) -> Self {
        Self(Some(client))
    }
}

impl<T: Send + 'static> Deref for Closing<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(client) => client,
            None => unreachable!("only the drop takes it"),
        }
    }
}

impl<T: Send + 'static> Drop for Closing<T> {
    fn drop(&mut self) {
        let client = self.0.take();
        let wait = Wait(start(move || drop(client)));
        if let Ok(runtime) = Handle::try_current() {
            // A runtime that ends already drops this here and now.
            drop(runtime.spawn_blocking(move || drop(wait)));
        }
    }
}

/// Waits, when it is dropped, for a client to be closed.
struct Wait(Receiver<()>);

impl Drop for Wait {
    fn drop(&mut self) {
        if self.0.recv_timeout(LIMIT).is_err() {
            tracing::warn!("a client of Kafka does not close and is left behind");
        }
    }
}

/// Runs what blocks on a thread of its own and waits for it, at most so long: librdkafka knows waits without an end. Blocks.
pub(super) fn bounded<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    start(work).recv_timeout(limit).ok()
}

/// Runs it on a thread of its own; that is where its result comes out.
fn start<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (done, is_done) = mpsc::channel();
    let thread = thread::Builder::new().name("kafka".to_owned()).spawn(move || {
        let result = work();
        // Who waited may have gone.
        let _ = done.send(result);
    });
    if let Err(error) = thread {
        tracing::warn!(%error, "no thread for a client of Kafka");
    }
    is_done
}
