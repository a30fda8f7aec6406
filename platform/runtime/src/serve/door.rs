//! The one way in for connections, for gRPC and for the gateway: how many may come, and what happens when none can be taken.

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
use crate::places::{Full, Place};

/// How long to wait when no connection can be taken, for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// So many connections that are refused are read at once until their client has closed them, and for so long and so much:
/// closing before that would reset the connection, and the last words could be lost.
const REFUSED_AT_ONCE: usize = 16;
const LAST_WORDS: Duration = Duration::from_secs(1);
const DISCARDED: u64 = 64 * 1024;
/// What goes wrong again and again is logged at most this often.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// A listener that a server takes, and takes again when it is started again. Clones share it.
#[derive(Debug, Clone)]
pub struct Port(Arc<Mutex<Option<Arc<TcpListener>>>>);

impl Port {
    pub fn new(listener: TcpListener) -> Self {
        Self(Arc::new(Mutex::new(Some(Arc::new(listener)))))
    }

    /// Lets nobody take it any more. It is closed when who has it lets go: who connects then is refused, and does not wait.
    pub fn close(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// A connection that was taken in.
#[derive(Debug)]
pub struct Arrival {
    pub stream: TcpStream,
    pub from: IpAddr,
    /// Kept for as long as the connection is.
    pub place: Place,
}

/// What is said to a connection that is refused.
type LastWords = Box<dyn Fn(Full) -> Vec<u8> + Send>;

/// Takes connections from a port, as many as there is capacity for. Those beyond are closed at once, or as soon as they have
/// read the last words.
pub struct Door {
    listener: Arc<TcpListener>,
    capacity: Capacity,
    name: &'static str,
    last_words: Option<LastWords>,
    refused: JoinSet<()>,
    failures: Seldom,
    refusals: Seldom,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Door").field(&self.name).finish()
    }
}

impl Door {
    /// The door of a port; none once the port is closed. `name` is that of the service, for the log.
    pub fn of(port: &Port, capacity: Capacity, name: &'static str) -> Option<Self> {
        let listener = port.0.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        Some(Self {
            listener,
            capacity,
            name,
            last_words: None,
            refused: JoinSet::new(),
            failures: Seldom::default(),
            refusals: Seldom::default(),
        })
    }

    /// With last words for those that are not taken in.
    #[must_use]
    pub fn refusing(self, last_words: impl Fn(Full) -> Vec<u8> + Send + 'static) -> Self {
        Self {
            last_words: Some(Box::new(last_words)),
            ..self
        }
    }

    /// The next connection. While none can be taken, it pauses. Nothing is lost when this is not awaited to its end.
    pub async fn next(&mut self) -> Arrival {
        loop {
            match self.listener.accept().await {
                Ok((stream, from)) => {
                    if let Some(arrival) = self.take_in(stream, from.ip()) {
                        return arrival;
                    }
                }
                Err(error) => self.pause(&error).await,
            }
        }
    }

    fn take_in(&mut self, stream: TcpStream, from: IpAddr) -> Option<Arrival> {
        // Without it an answer may wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        match self.capacity.admit(from) {
            Ok(place) => Some(Arrival { stream, from, place }),
            Err(full) => {
                if let Some(since) = self.refusals.say() {
                    let why = match full {
                        Full::Share => "one address has its share of the connections",
                        Full::All => "all connections are taken",
                    };
                    tracing::warn!(service = self.name, %from, why, refused = since, "a connection was refused");
                }
                self.refuse(stream, full);
                None
            }
        }
    }

    fn refuse(&mut self, stream: TcpStream, full: Full) {
        let Some(last_words) = &self.last_words else {
            return;
        };
        // Whatever fits into the empty buffer of a new connection.
        let _ = stream.try_write(&last_words(full));
        while self.refused.try_join_next().is_some() {}
        if self.refused.len() < REFUSED_AT_ONCE {
            self.refused.spawn(hang_up(stream));
        }
    }

    async fn pause(&mut self, error: &io::Error) {
        // One client's failure, not the process's.
        if matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
        ) {
            return;
        }
        if let Some(since) = self.failures.say() {
            tracing::warn!(service = self.name, %error, failed = since, "no connection can be accepted");
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// Says that nothing more is said, and reads what the client sends until it closes.
async fn hang_up(mut stream: TcpStream) {
    let hung_up = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(DISCARDED), &mut tokio::io::sink()).await
    };
    if !matches!(timeout(LAST_WORDS, hung_up).await, Ok(Ok(_))) {
        tracing::debug!("a refused connection may not have read why");
    }
}

/// What is said once and then seldom, with how often it happened.
#[derive(Debug, Default)]
struct Seldom {
    said: Option<Instant>,
    count: u64,
}

impl Seldom {
    /// How often it has happened since it was said last, if it should be said now.
    fn say(&mut self) -> Option<u64> {
        self.count += 1;
        if self.said.is_some_and(|at| at.elapsed() < SAY_AGAIN) {
            return None;
        }
        self.said = Some(Instant::now());
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_happens_again_and_again_is_said_seldom_and_counted() {
        let mut seldom = Seldom::default();
        assert_eq!(seldom.say(), Some(1));
        for _ in 0..5 {
            assert_eq!(seldom.say(), None);
        }
        tokio::time::advance(SAY_AGAIN).await;
        assert_eq!(seldom.say(), Some(6));
    }
}
