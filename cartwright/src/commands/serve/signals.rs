//! SIGINT and SIGTERM: the first one stops the shop in order, the second one ends the process at once, and so does the end of
//! the time that a stop may take.

use std::{future::pending, io, process, thread, time::Duration};

use runtime::telemetry::Log;
use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

/// A file has reached the size that the system allows. Left alone the signal ends the process; taken, the write fails.
const SIGXFSZ: i32 = 25;
/// How long the last line may take.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// The signals of this process, taken by a thread of its own: they count also when all threads of the shop are stuck.
pub(super) struct Signals(oneshot::Receiver<()>);

impl Signals {
    /// Takes them from now on. After the first one, the process has `limit` to end.
    pub(super) fn take(limit: Duration, log: Log) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let mut taken = {
            let _inside = runtime.enter();
            Taken {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
                _file_size: signal(SignalKind::from_raw(SIGXFSZ))?,
            }
        };
        let (first, has_come) = oneshot::channel();
        let watch = async move {
            taken.next().await;
            // Nobody listens when the shop is not open any more.
            let _ = first.send(());
            let (why, code) = tokio::select! {
                signal = taken.next() => ("a second signal".to_owned(), 128 + signal.as_raw_value()),
                () = tokio::time::sleep(limit) => (format!("the stop took longer than SHUTDOWN_TIMEOUT, {limit:?}"), 1),
            };
            log.say(&format!("cartwright: {why}: ends at once, with work still running"));
            log.flush(LAST_WORDS);
            process::exit(code)
        };
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(watch))?;
        Ok(Self(has_come))
    }

    /// Waits for the first one.
    pub(super) async fn first(self) {
        if self.0.await.is_err() {
            // The thread is gone: then so are the signals.
            pending::<()>().await;
        }
    }
}

struct Taken {
    interrupt: Signal,
    terminate: Signal,
    _file_size: Signal,
}

impl Taken {
    async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
        }
    }
}
