//! Serves one service on a port and in this process, with health and reflection.

mod acceptor;
mod bodies;
mod calls;
mod capacity;
mod connection;
mod file_descriptors;
mod idle;
mod monitor;
mod shutdown;

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use futures::future::{Either, select};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Mutex,
    time::Instant,
};
use tonic::{Status, service::Routes, transport::server::Connected};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{Runtime, Service, Tasks, channel::Incoming, supervision::TaskName};
pub(crate) use acceptor::{AcceptedConnection, Acceptor, SharedListener};
use calls::Dispatcher;
pub use capacity::{BufferedBytes, Capacity, network};
pub use file_descriptors::FileDescriptors;
pub(crate) use idle::IdleConnection;
use monitor::ConnectionMonitor;
pub use monitor::GrpcTimeouts;
use shutdown::Shutdown;

/// The largest message that a service accepts, in bytes.
pub const MAX_MESSAGE_IN: usize = 256 * 1024;
/// The largest message that a service sends and its callers accept, in bytes.
pub const MAX_MESSAGE_OUT: usize = 4 * 1024 * 1024;
/// Concurrent calls on one connection. An in-process connection carries all calls of its peer, so it may carry more.
const CALLS: u32 = 128;
const CALLS_IN_PROCESS: u32 = 1024;
/// The default limit of connections.
const CONNECTIONS: usize = 1024;

/// The limits that the gRPC ports of a process share.
#[derive(Debug, Clone)]
pub struct GrpcLimits {
    pub capacity: Capacity,
    pub timeouts: GrpcTimeouts,
    /// Concurrent calls on one connection.
    pub calls: u32,
}

impl Default for GrpcLimits {
    fn default() -> Self {
        Self {
            capacity: Capacity::new(CONNECTIONS, CONNECTIONS / 2),
            timeouts: GrpcTimeouts::default(),
            calls: CALLS,
        }
    }
}

/// What all gRPC servers of a process have in common.
#[derive(Debug, Clone, Copy)]
pub struct GrpcContract {
    /// The compiled `.proto` files, for reflection.
    pub descriptors: &'static [u8],
    /// Adds details to a status of the transport.
    pub add_status_details: fn(Status) -> Status,
}

/// A running service.
#[derive(Debug)]
pub struct Running {
    pub name: &'static str,
    /// The address that the service listens on.
    pub address: SocketAddr,
    grpc_name: &'static str,
    health: HealthReporter,
    listener: SharedListener,
    shutdown: Shutdown,
    servers: Tasks,
    background: Tasks,
    transactions: Vec<Tasks>,
}

/// Starts the service's background tasks, and serves it on `listener` and to `incoming`.
pub async fn start(
    service: Service,
    listener: TcpListener,
    incoming: Incoming,
    contract: GrpcContract,
    runtime: &Runtime,
) -> io::Result<Running> {
    let address = listener.local_addr()?;
    let (health, routes) = with_health_and_reflection(&service, contract).await?;
    let background = service.tasks.clone();
    for (task, work) in service.background {
        let name = TaskName {
            service: service.name,
            task,
        };
        background.keep_running(name, service.task_health.clone(), work);
    }
    let name = |task| TaskName {
        service: service.name,
        task,
    };
    let (shutdown, servers) = (Shutdown::default(), Tasks::new());
    let server = Arc::new(Server {
        dispatcher: Arc::new(Dispatcher {
            routes: routes.prepare(),
            ids: runtime.ids.clone(),
            add_status_details: contract.add_status_details,
            shutdown: shutdown.clone(),
        }),
        limits: runtime.limits.clone(),
        tasks: servers.clone(),
        name: service.name,
    });
    let listener = SharedListener::new(listener);
    let (server_listener, tcp_server) = (listener.clone(), server.clone());
    servers.keep_running(name("tcp server"), service.task_health.clone(), move || {
        tcp_server.clone().serve_tcp(server_listener.clone())
    });
    let incoming = Arc::new(Mutex::new(incoming));
    servers.keep_running(name("in-process server"), service.task_health, move || {
        server.clone().serve_in_process(incoming.clone())
    });
    Ok(Running {
        name: service.name,
        address,
        grpc_name: service.grpc_name,
        health,
        listener,
        shutdown,
        servers,
        background,
        transactions: service.transactions,
    })
}

impl Running {
    /// Reports `NOT_SERVING`, accepts no more calls, and waits for calls in flight, tasks and transactions, at most for
    /// `limit` in all. Idle connections, health watches, reflection and incomplete requests do not delay the stop.
    pub async fn stop(self, limit: Duration) {
        let until = Instant::now() + limit;
        self.health
            .set_service_status(self.grpc_name, ServingStatus::NotServing)
            .await;
        self.health.set_service_status("", ServingStatus::NotServing).await;
        self.listener.close();
        self.shutdown.stop.cancel();
        let drained = {
            // The remaining time is for background work, which releases its leases when told to stop.
            let servers = pin!(self.servers.stop(limit * 7 / 10));
            match select(servers, pin!(self.shutdown.abort_when_idle())).await {
                Either::Left((ended, _)) => ended,
                Either::Right(((), servers)) => servers.await,
            }
        };
        // Cuts off what has not ended by now.
        self.shutdown.abort.cancel();
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

async fn with_health_and_reflection(service: &Service, contract: GrpcContract) -> io::Result<(HealthReporter, Routes)> {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter
        .set_service_status(service.grpc_name, ServingStatus::Serving)
        .await;
    reporter.set_service_status("", ServingStatus::Serving).await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(contract.descriptors)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // So that grpcurl can show error details.
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
    dispatcher: Arc<Dispatcher>,
    limits: GrpcLimits,
    tasks: Tasks,
    name: &'static str,
}

impl Server {
    /// Serves connections from the port until the service stops.
    async fn serve_tcp(self: Arc<Self>, listener: SharedListener) {
        let Some(mut acceptor) = Acceptor::new(&listener, self.limits.capacity.clone(), self.name) else {
            return self.tasks.stopping().await;
        };
        loop {
            let accepted = tokio::select! {
                () = self.tasks.stopping() => return,
                accepted = acceptor.accept() => accepted,
            };
            let served = self.serve(accepted.stream, self.limits.clone());
            let permit = accepted.permit;
            self.tasks.spawn(async move {
                served.await;
                drop(permit);
            });
        }
    }

    /// Serves connections from this process. There are only as many as peers, and they may be idle.
    async fn serve_in_process(self: Arc<Self>, incoming: Arc<Mutex<Incoming>>) {
        let GrpcLimits { timeouts, .. } = self.limits;
        let limits = GrpcLimits {
            capacity: Capacity::unbounded(),
            timeouts: GrpcTimeouts {
                idle: timeouts.max_age,
                ..timeouts
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
                // All peers are gone; existing connections go on.
                None => return self.tasks.stopping().await,
            }
        }
    }

    fn serve<C>(&self, connection: C, limits: GrpcLimits) -> impl Future<Output = ()> + Send + use<C>
    where
        C: AsyncRead + AsyncWrite + Connected<ConnectInfo: Clone> + Unpin + Send + 'static,
    {
        let monitor = ConnectionMonitor::new(limits.capacity, limits.timeouts, &self.dispatcher.shutdown.stop);
        connection::serve(
            connection,
            limits.calls,
            (monitor, self.dispatcher.clone()),
            self.tasks.clone(),
        )
    }
}
