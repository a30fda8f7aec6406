//! The accept loop of gRPC and HTTP servers: limits connections, and backs off when accepting fails.

use std::{
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, timeout},
};

use super::Capacity;
use crate::permits::{LimitReached, Permit};

/// The pause after a failed accept, as when file descriptors run out.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(200);
/// How many refused connections may linger, how long, and how many bytes are read from each. Closing at once would
/// reset the connection, and the client could lose the refusal message.
const MAX_LINGERING: usize = 16;
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
const MAX_DISCARDED: u64 = 64 * 1024;
/// The least time between two log lines about repeated failures.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// A listener that survives a restart of its server task. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct SharedListener(Arc<Mutex<Option<Arc<TcpListener>>>>);

impl SharedListener {
    pub(crate) fn new(listener: TcpListener) -> Self {
        Self(Arc::new(Mutex::new(Some(Arc::new(listener)))))
    }

    /// Closes the listener once its users drop it. Then new connections are refused and do not wait in the backlog.
    pub(crate) fn close(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// An accepted connection.
#[derive(Debug)]
pub(crate) struct AcceptedConnection {
    pub(crate) stream: TcpStream,
    pub(crate) from: IpAddr,
    /// Held as long as the connection is open.
    pub(crate) permit: Permit,
}

/// Makes the message for a refused connection.
type RefusalMessage = Box<dyn Fn(LimitReached) -> Vec<u8> + Send>;

/// Accepts connections within the capacity. Closes the others, after the client has read the refusal message, if any.
pub(crate) struct Acceptor {
    listener: Arc<TcpListener>,
    capacity: Capacity,
    name: &'static str,
    refusal_message: Option<RefusalMessage>,
    refused: JoinSet<()>,
    failures: LogThrottle,
    refusals: LogThrottle,
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Acceptor").field(&self.name).finish()
    }
}

impl Acceptor {
    /// `None` if the listener is closed. `name` is the service's name, for the log.
    pub(crate) fn new(listener: &SharedListener, capacity: Capacity, name: &'static str) -> Option<Self> {
        let listener = listener.0.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        Some(Self {
            listener,
            capacity,
            name,
            refusal_message: None,
            refused: JoinSet::new(),
            failures: LogThrottle::default(),
            refusals: LogThrottle::default(),
        })
    }

    /// Sends this message to refused connections.
    #[must_use]
    pub(crate) fn with_refusal_message(
        self,
        refusal_message: impl Fn(LimitReached) -> Vec<u8> + Send + 'static,
    ) -> Self {
        Self {
            refusal_message: Some(Box::new(refusal_message)),
            ..self
        }
    }

    /// Accepts the next connection. Backs off on errors. Cancellation loses no connection.
    pub(crate) async fn accept(&mut self) -> AcceptedConnection {
        loop {
            match self.listener.accept().await {
                Ok((stream, from)) => {
                    if let Some(accepted) = self.admit(stream, from.ip()) {
                        return accepted;
                    }
                }
                Err(error) => self.back_off(&error).await,
            }
        }
    }

    fn admit(&mut self, stream: TcpStream, from: IpAddr) -> Option<AcceptedConnection> {
        // With Nagle's algorithm an answer may wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        match self.capacity.admit(from) {
            Ok(permit) => Some(AcceptedConnection { stream, from, permit }),
            Err(full) => {
                if let Some(since) = self.refusals.record() {
                    let why = match full {
                        LimitReached::PerCaller => "one address holds as many connections as it may",
                        LimitReached::Total => "all connections are taken",
                    };
                    tracing::warn!(service = self.name, %from, why, refused = since, "a connection was refused");
                }
                self.refuse(stream, full);
                None
            }
        }
    }

    fn refuse(&mut self, stream: TcpStream, full: LimitReached) {
        let Some(refusal_message) = &self.refusal_message else {
            return;
        };
        // A new connection has an empty send buffer; what does not fit is lost.
        let _ = stream.try_write(&refusal_message(full));
        while self.refused.try_join_next().is_some() {}
        if self.refused.len() < MAX_LINGERING {
            self.refused.spawn(linger(stream));
        }
    }

    async fn back_off(&mut self, error: &io::Error) {
        // Failures of one client, not of the process.
        if matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
        ) {
            return;
        }
        if let Some(since) = self.failures.record() {
            tracing::warn!(service = self.name, %error, failed = since, "no connection can be accepted");
        }
        tokio::time::sleep(ACCEPT_BACKOFF).await;
    }
}

/// Shuts down the sending side and discards input until the client closes.
async fn linger(mut stream: TcpStream) {
    let hung_up = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(MAX_DISCARDED), &mut tokio::io::sink()).await
    };
    if !matches!(timeout(LINGER_TIMEOUT, hung_up).await, Ok(Ok(_))) {
        tracing::debug!("a refused client may not have read the reason");
    }
}

/// Throttles a repeated log line and counts how often it was due.
#[derive(Debug, Default)]
struct LogThrottle {
    logged_at: Option<Instant>,
    count: u64,
}

impl LogThrottle {
    /// Counts one occurrence. Returns the number since the last log line if a line is due.
    fn record(&mut self) -> Option<u64> {
        self.count += 1;
        if self.logged_at.is_some_and(|at| at.elapsed() < LOG_INTERVAL) {
            return None;
        }
        self.logged_at = Some(Instant::now());
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn repeated_events_are_logged_seldom_and_counted() {
        let mut throttle = LogThrottle::default();
        assert_eq!(throttle.record(), Some(1));
        for _ in 0..5 {
            assert_eq!(throttle.record(), None);
        }
        tokio::time::advance(LOG_INTERVAL).await;
        assert_eq!(throttle.record(), Some(6));
    }
}
