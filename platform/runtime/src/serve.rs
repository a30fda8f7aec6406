//! Serving: one service on its own port and to its peers in this process, with health and reflection.

mod bodies;
mod connection;
mod ending;
mod layer;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Mutex,
    time::Instant,
};
use tonic::{
    Status,
    service::Routes,
    transport::{Server, server::Connected},
};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{Runtime, Service, Tasks, channel::Incoming, supervision::Name};
pub use connection::Port;
use connection::Severable;
use ending::Ending;
use layer::RequestLayer;

/// The longest that a handler may run, whatever the caller's deadline.
const HANDLER_TIMEOUT: Duration = Duration::from_mins(1);
/// Calls in flight on one connection.
const MAX_CONCURRENT_STREAMS: u32 = 1024;
/// Callers connect anew this often, so that they find replicas that came later behind one name. Calls in flight end first.
const CONNECTION_AGE: Duration = Duration::from_mins(5);

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
    let server = Arc::new(Shared {
        routes,
        layer: RequestLayer {
            ids: runtime.ids.clone(),
            complete: interface.complete,
            ending: ending.clone(),
        },
        name: service.name,
    });
    let port = Port::new(listener);
    let (of_port, of_tcp) = (port.clone(), server.clone());
    servers.keep_running(name, service.wellbeing.clone(), move || {
        of_tcp.clone().serve(connection::over_tcp(&of_port, service.name))
    });
    let incoming = Arc::new(Mutex::new(incoming));
    servers.keep_running(name, service.wellbeing, move || {
        server.clone().serve(connection::in_process(incoming.clone()))
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
    })
}

impl Running {
    /// Says that it stops, takes no more calls, waits for those in flight and for its tasks: at most for `limit` in all. Idle
    /// connections, streams of health and reflection, and requests that never arrive whole hold up nothing.
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
        let left = until.saturating_duration_since(Instant::now());
        let ended = self.background.stop(left).await;
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
        .map_err(io::Error::other)?;
    Ok((
        reporter,
        service.routes.clone().add_service(health).add_service(reflection),
    ))
}

/// What the servers of one service share.
struct Shared {
    routes: Routes,
    layer: RequestLayer,
    name: &'static str,
}

impl Shared {
    /// Serves the service on these connections until it stops.
    async fn serve<C>(self: Arc<Self>, connections: BoxStream<'static, io::Result<C>>)
    where
        C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let Ending { stop, cut, .. } = self.layer.ending.clone();
        let stopping = stop.clone().cancelled_owned();
        let connections =
            connections.map(move |connection| Ok::<_, io::Error>(Severable::new(connection?, &stop, &cut)));
        let served = Server::builder()
            .timeout(HANDLER_TIMEOUT)
            .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
            .max_connection_age(connection_age())
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .layer(self.layer.clone())
            .add_routes(self.routes.clone())
            .serve_with_incoming_shutdown(connections, stopping)
            .await;
        if let Err(error) = served {
            tracing::error!(service = self.name, %error, "the server ended");
        }
    }
}

/// Not the same for all, or all callers would come back at once.
fn connection_age() -> Duration {
    CONNECTION_AGE + CONNECTION_AGE.mul_f64(fastrand::f64())
}
