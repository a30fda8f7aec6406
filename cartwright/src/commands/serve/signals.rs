//! SIGINT and SIGTERM: the first signal stops the shop in order. A second signal, or the end of the stop's time limit,
//! ends the process at once.

use std::{future::pending, io, process, thread, time::Duration};

use runtime::telemetry::Log;
use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

/// A file has reached its size limit. By default the signal kills the process; with a handler the write fails instead.
const SIGXFSZ: i32 = 25;
/// How long writing the last line may take.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(200);

/// The signals of this process. A thread of its own handles them, so they work even if all other threads are stuck.
pub(super) struct Signals(oneshot::Receiver<()>);

impl Signals {
    /// Handles signals from now on. After the first one, the process has `limit` to end.
    pub(super) fn register(limit: Duration, log: Log) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let mut streams = {
            let _inside = runtime.enter();
            SignalStreams {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
                _file_size: signal(SignalKind::from_raw(SIGXFSZ))?,
            }
        };
        let (first, has_come) = oneshot::channel();
        let watch = async move {
            streams.next().await;
            // Fails if the shop has already stopped.
            let _ = first.send(());
            let (why, code) = tokio::select! {
                signal = streams.next() => ("a second signal".to_owned(), 128 + signal.as_raw_value()),
                () = tokio::time::sleep(limit) => (format!("the stop took longer than SHUTDOWN_TIMEOUT, {limit:?}"), 1),
            };
            log.write_line(&format!("cartwright: {why}: ends at once, with work still running"));
            log.flush(FLUSH_TIMEOUT);
            process::exit(code)
        };
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(watch))?;
        Ok(Self(has_come))
    }

    /// Waits for the first signal.
    pub(super) async fn first(self) {
        if self.0.await.is_err() {
            // The thread ended: no signal will arrive.
            pending::<()>().await;
        }
    }
}

struct SignalStreams {
    interrupt: Signal,
    terminate: Signal,
    _file_size: Signal,
}

impl SignalStreams {
    async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
        }
    }
}
