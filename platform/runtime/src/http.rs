//! Serving a router over HTTP/1 on a port, and ending in time.

use std::{io, net::SocketAddr, time::Duration};

use axum::Router;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};
use tracing::Instrument;

use crate::{
    Name, Runtime, Tasks, Wellbeing,
    serve::{Capacity, Door, Port},
};

mod behind;
mod connection;
mod in_hand;
mod phase;
mod refusal;
mod socket;

pub use connection::ClientAddress;
pub use refusal::{Refusals, Refused};

/// A port that answers.
#[derive(Debug)]
pub struct Running {
    name: &'static str,
    /// Where it listens.
    pub address: SocketAddr,
    port: Port,
    tasks: Tasks,
    server: JoinHandle<()>,
}

/// How long a connection may take over what is its client's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For the next request to begin. Load balancers keep idle connections too, often for exactly 60 s: the side that
    /// closes first must be theirs, or a request meets a connection that is being closed.
    pub keep_alive: Duration,
    /// For the head of a request that has begun. `docs/errors.md` names it.
    pub head: Duration,
    /// For the client to take some more of an answer.
    pub progress: Duration,
    /// For the client to take all of an answer.
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            keep_alive: Duration::from_secs(75),
            head: Duration::from_secs(10),
            progress: Duration::from_secs(30),
            answer: Duration::from_mins(2),
        }
    }
}

/// What is served on a port, and how. Clones are the same.
#[derive(Clone)]
pub struct Server {
    /// Of the port, for the log.
    pub name: &'static str,
    pub router: Router,
    pub patience: Patience,
    pub capacity: Capacity,
    /// What is said of requests that do not come to the router.
    pub refusals: Refusals,
    pub runtime: Runtime,
}

/// Serves on `listener` until it is stopped, to as many connections as there is capacity for.
pub fn serve(server: Server, listener: TcpListener) -> io::Result<Running> {
    let (name, address) = (server.name, listener.local_addr()?);
    let tasks = Tasks::new();
    let (port, accepting) = (Port::new(listener), tasks.clone());
    let task = Name {
        service: name,
        task: "server",
    };
    let of_server = port.clone();
    let server = tasks.keep_running(task, Wellbeing::default(), move || {
        accept(server.clone(), of_server.clone(), accepting.clone())
    });
    Ok(Running {
        name,
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
            tracing::warn!(port = self.name, ?limit, "stopped with requests still running");
            self.server.abort();
        }
    }
}

/// The connections end with this task, whichever way it ends.
async fn accept(server: Server, port: Port, tasks: Tasks) {
    let Some(door) = Door::of(&port, server.capacity.clone(), server.name) else {
        return;
    };
    let (runtime, refusals) = (server.runtime.clone(), server.refusals);
    let mut door = door.refusing(move |full| refusal::whole(Refused::NoPlace(full), refusals, &runtime));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = tasks.stopping() => break,
            Some(_) = connections.join_next() => {}
            arrival = door.next() => {
                connections.spawn(server.clone().serve(arrival, tasks.clone()).in_current_span());
            }
        }
    }
    drop(door);
    while connections.join_next().await.is_some() {}
}
