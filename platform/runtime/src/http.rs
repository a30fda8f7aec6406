//! Serves a router over HTTP/1 on a port, with graceful shutdown.

use std::{io, net::SocketAddr, time::Duration};

use axum::Router;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};
use tracing::Instrument;

use crate::{
    Runtime, Tasks,
    serve::{Acceptor, Capacity, SharedListener},
    supervision::{TaskHealth, TaskName},
};

mod connection;
mod in_flight;
mod phase;
mod read_ahead;
mod refusal;
mod socket;

pub use connection::ClientAddress;
pub use refusal::{Refused, RenderRefusal};

/// A running HTTP server.
#[derive(Debug)]
pub struct Running {
    name: &'static str,
    /// The address that the server listens on.
    pub address: SocketAddr,
    listener: SharedListener,
    tasks: Tasks,
    server: JoinHandle<()>,
}

/// How long a connection may wait for its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpTimeouts {
    /// Until the next request begins. Load balancers close idle connections too, often after exactly 60 s. Theirs must
    /// close first, or a request meets a connection that is being closed.
    pub keep_alive: Duration,
    /// For the rest of a request's head. `docs/errors.md` names this timeout.
    pub head: Duration,
    /// For the client to read more of an answer.
    pub progress: Duration,
    /// For the client to read the whole answer.
    pub answer: Duration,
}

impl Default for HttpTimeouts {
    fn default() -> Self {
        Self {
            keep_alive: Duration::from_secs(75),
            head: Duration::from_secs(10),
            progress: Duration::from_secs(30),
            answer: Duration::from_mins(2),
        }
    }
}

/// What to serve, and with which limits.
#[derive(Clone)]
pub struct Server {
    /// The port's name, for the log.
    pub name: &'static str,
    pub router: Router,
    pub timeouts: HttpTimeouts,
    pub capacity: Capacity,
    /// Renders the answer to a request that does not reach the router.
    pub render_refusal: RenderRefusal,
    pub runtime: Runtime,
}

/// Serves on `listener` until stopped, within the limits of the server's capacity.
pub fn serve(server: Server, listener: TcpListener) -> io::Result<Running> {
    let (name, address) = (server.name, listener.local_addr()?);
    let tasks = Tasks::new();
    let (listener, accepting) = (SharedListener::new(listener), tasks.clone());
    let task = TaskName {
        service: name,
        task: "server",
    };
    let server_listener = listener.clone();
    let server = tasks.keep_running(task, TaskHealth::default(), move || {
        accept(server.clone(), server_listener.clone(), accepting.clone())
    });
    Ok(Running {
        name,
        address,
        listener,
        tasks,
        server,
    })
}

impl Running {
    /// Accepts no more connections, closes idle connections and those with incomplete requests, and waits at most for
    /// `limit` until the requests in flight are answered. Then the rest is cut off.
    pub async fn stop(self, limit: Duration) {
        self.listener.close();
        if !self.tasks.stop(limit).await {
            tracing::warn!(port = self.name, ?limit, "stopped with requests still running");
            self.server.abort();
        }
    }
}

/// The accept loop. Its connections end with this task, also when it panics.
async fn accept(server: Server, listener: SharedListener, tasks: Tasks) {
    let Some(acceptor) = Acceptor::new(&listener, server.capacity.clone(), server.name) else {
        return;
    };
    let (runtime, render_refusal) = (server.runtime.clone(), server.render_refusal);
    let mut acceptor = acceptor.with_refusal_message(move |full| {
        refusal::to_bytes(Refused::TooManyConnections(full), render_refusal, &runtime)
    });
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = tasks.stopping() => break,
            Some(_) = connections.join_next() => {}
            accepted = acceptor.accept() => {
                connections.spawn(server.clone().serve(accepted, tasks.clone()).in_current_span());
            }
        }
    }
    drop(acceptor);
    while connections.join_next().await.is_some() {}
}
