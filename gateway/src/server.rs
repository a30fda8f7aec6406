//! Serving the router on a port, and ending in time.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use runtime::{Name, Runtime, Tasks, Wellbeing, serve::Port};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

mod connection;
mod phase;
mod refusal;
mod socket;

use connection::Server;

/// How long to wait when no connection can be taken, for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A gateway that answers.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    port: Port,
    tasks: Tasks,
    server: JoinHandle<()>,
}

/// How long a connection may take while it has no request in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For the next request to begin. Load balancers keep idle connections too, often for exactly 60 s: the side that
    /// closes first must be theirs, or a request meets a connection that is being closed.
    pub keep_alive: Duration,
    /// For the head of a request that has begun.
    pub head: Duration,
}

impl Patience {
    /// The usual patience for heads: some seconds. `docs/errors.md` names it.
    pub const HEAD: Duration = Duration::from_secs(10);
}

/// Serves the router on `listener` until it is stopped.
pub fn serve(router: Router, listener: TcpListener, patience: Patience, runtime: &Runtime) -> io::Result<Running> {
    let address = listener.local_addr()?;
    let tasks = Tasks::new();
    let server = Server {
        router,
        patience,
        runtime: runtime.clone(),
    };
    let (port, accepting) = (Port::new(listener), tasks.clone());
    let name = Name {
        service: "gateway",
        task: "server",
    };
    let of_server = port.clone();
    let server = tasks.keep_running(name, Wellbeing::default(), move || {
        accept(server.clone(), of_server.listener(), accepting.clone())
    });
    Ok(Running {
        address,
        port,
        tasks,
        server,
    })
}

impl Running {
    /// Takes no more connections, closes idle ones and those whose request does not arrive whole, and waits for the requests
    /// in flight, at most for `limit`. What has not ended by then is cut off.
    pub async fn stop(self, limit: Duration) {
        self.port.close();
        if !self.tasks.stop(limit).await {
            tracing::warn!(?limit, "the gateway stopped with requests still running");
            self.server.abort();
        }
    }
}

/// The connections end with this task, whichever way it ends.
async fn accept(server: Server, listener: Option<Arc<TcpListener>>, tasks: Tasks) {
    let Some(listener) = listener else { return };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = tasks.stopping() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    connections.spawn(server.clone().serve(stream, from.ip(), tasks.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tasks.sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}
