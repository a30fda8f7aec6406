//! Serving: one service on its own port and to its peers in this process, with health and reflection.

mod bodies;
mod calls;
mod capacity;
mod connection;
mod descriptors;
mod door;
mod ending;
mod idle;
mod watch;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Mutex,
    time::Instant,
};
use tonic::{Status, service::Routes, transport::server::Connected};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{Runtime, Service, Tasks, channel::Incoming, supervision::Name};
use calls::Around;
pub use capacity::{Capacity, Held, network};
pub use descriptors::Descriptors;
pub use door::{Arrival, Door, Port};
use ending::Ending;
pub use idle::Idle;
pub use watch::Patience;
use watch::Watch;

/// The largest message that a service takes, in bytes.
pub const MAX_MESSAGE_IN: usize = 256 * 1024;
/// The largest message that a service gives, and that its callers take, in bytes.
pub const MAX_MESSAGE_OUT: usize = 4 * 1024 * 1024;
/// Calls in flight on one connection, of others and of this process: that one carries all that its peer has in hand.
const CALLS: u32 = 128;
const CALLS_IN_PROCESS: u32 = 1024;
/// Connections of a process that sets nothing else.
const CONNECTIONS: usize = 1024;

/// What the gRPC ports of a process have for their callers, between them.
#[derive(Debug, Clone)]
pub struct Limits {
    pub capacity: Capacity,
    pub patience: Patience,
    /// In flight on one connection.
    pub calls: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            capacity: Capacity::new(CONNECTIONS, CONNECTIONS / 2),
            patience: Patience::default(),
            calls: CALLS,
        }
    }
}

/// What all servers of a process share.
#[derive(Debug, Clone, Copy)]
pub struct Interface {
    /// The compiled `.proto` files, for reflection.
    pub descriptors: &'static [u8],
    /// Completes a status that the transport made by itself.
    pub complete: fn(Status) -> Status,
}

/// A service that answers.
#[derive(Debug)]
pub struct Running {
    pub name: &'static str,
    /// Where it listens.
    pub address: SocketAddr,
    grpc_name: &'static str,
    health: HealthReporter,
    port: Port,
    ending: Ending,
    servers: Tasks,
    background: Tasks,
    transactions: Vec<Tasks>,
}

/// Starts the background tasks of a service and serves it on `listener` and to `incoming`.
pub async fn start(
    service: Service,
    listener: TcpListener,
    incoming: Incoming,
    interface: Interface,
    runtime: &Runtime,
) -> io::Result<Running> {
    let address = listener.local_addr()?;
    let (health, routes) = with_health_and_reflection(&service, interface).await?;
    let background = service.tasks.clone();
    for (task, work) in service.background {
        let name = Name {
            service: service.name,
            task,
        };
        background.keep_running(name, service.wellbeing.clone(), work);
    }
    let name = Name {
        service: service.name,
        task: "server",
    };
    let (ending, servers) = (Ending::default(), Tasks::new());
    let server = Arc::new(Server {
        around: Arc::new(Around {
            routes: routes.prepare(),
            ids: runtime.ids.clone(),
            complete: interface.complete,
            ending: ending.clone(),
        }),
        limits: runtime.limits.clone(),
        tasks: servers.clone(),
        name: service.name,
    });
    let port = Port::new(listener);
    let (of_port, of_tcp) = (port.clone(), server.clone());
    servers.keep_running(name, service.wellbeing.clone(), move || {
        of_tcp.clone().serve_port(of_port.clone())
    });
    let incoming = Arc::new(Mutex::new(incoming));
    servers.keep_running(name, service.wellbeing, move || {
        server.clone().serve_process(incoming.clone())
    });
    Ok(Running {
        name: service.name,
        address,
        grpc_name: service.grpc_name,
        health,
        port,
        ending,
        servers,
        background,
        transactions: service.transactions,
    })
}

impl Running {
    /// Says that it stops, takes no more calls, waits for those in flight, for its tasks and for the transactions of its stores:
    /// at most for `limit` in all. Idle connections, streams of health and reflection, and requests that never arrive whole hold up nothing.
    pub async fn stop(self, limit: Duration) {
        let until = Instant::now() + limit;
        self.health
            .set_service_status(self.grpc_name, ServingStatus::NotServing)
            .await;
        self.health.set_service_status("", ServingStatus::NotServing).await;
        self.port.close();
        self.ending.stop.cancel();
        let drained = {
            // The rest is for background work, which gives its leases back when it is told to stop.
            let ended = std::pin::pin!(self.servers.stop(limit * 7 / 10));
            let cut = async {
                self.ending.cut_idle().await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
                ended = ended => ended,
                () = cut => false,
            }
        };
        // What has not ended by now is cut off.
        self.ending.cut.cancel();
        let left = || until.saturating_duration_since(Instant::now());
        let mut ended = self.background.stop(left()).await;
        for transactions in self.transactions {
            ended &= transactions.stop(left()).await;
        }
        if !(drained && ended) {
            tracing::warn!(service = self.name, ?limit, "stopped with work still running");
        }
    }
}

async fn with_health_and_reflection(service: &Service, interface: Interface) -> io::Result<(HealthReporter, Routes)> {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter
        .set_service_status(service.grpc_name, ServingStatus::Serving)
        .await;
    reporter.set_service_status("", ServingStatus::Serving).await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(interface.descriptors)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // So that grpcurl can show the details of an error.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .with_service_name(service.grpc_name)
        .with_service_name("grpc.health.v1.Health")
        .build_v1()
        .map_err(io::Error::other)?
        .max_decoding_message_size(MAX_MESSAGE_IN)
        .max_encoding_message_size(MAX_MESSAGE_OUT);
    let health = health.max_decoding_message_size(MAX_MESSAGE_IN);
    Ok((
        reporter,
        service.routes.clone().add_service(health).add_service(reflection),
    ))
}

/// What the servers of one service share.
struct Server {
    around: Arc<Around>,
    limits: Limits,
    tasks: Tasks,
    name: &'static str,
}

impl Server {
    /// Serves the connections that come to a port, until the service stops.
    async fn serve_port(self: Arc<Self>, port: Port) {
        let Some(mut door) = Door::of(&port, self.limits.capacity.clone(), self.name) else {
            return self.tasks.stopping().await;
        };
        loop {
            let arrival = tokio::select! {
                () = self.tasks.stopping() => return,
                arrival = door.next() => arrival,
            };
            let served = self.serve(arrival.stream, self.limits.clone());
            let place = arrival.place;
            self.tasks.spawn(async move {
                served.await;
                drop(place);
            });
        }
    }

    /// Serves the connections that come from this process. They are as few as there are peers, and those may be idle.
    async fn serve_process(self: Arc<Self>, incoming: Arc<Mutex<Incoming>>) {
        let Limits { patience, .. } = self.limits;
        let limits = Limits {
            capacity: Capacity::unbounded(),
            patience: Patience {
                idle: patience.age,
                ..patience
            },
            calls: CALLS_IN_PROCESS,
        };
        loop {
            let next = async { incoming.lock().await.recv().await };
            let connection = tokio::select! {
                () = self.tasks.stopping() => return,
                connection = next => connection,
            };
            match connection {
                Some(connection) => drop(self.tasks.spawn(self.serve(connection, limits.clone()))),
                // Nobody is left who could connect; those that are there go on.
                None => return self.tasks.stopping().await,
            }
        }
    }

    fn serve<C>(&self, connection: C, limits: Limits) -> impl Future<Output = ()> + Send + use<C>
    where
        C: AsyncRead + AsyncWrite + Connected<ConnectInfo: Clone> + Unpin + Send + 'static,
    {
        let watch = Watch::new(limits.capacity, limits.patience, &self.around.ending.stop);
        connection::serve(
            connection,
            limits.calls,
            (watch, self.around.clone()),
            self.tasks.clone(),
        )
    }
}
