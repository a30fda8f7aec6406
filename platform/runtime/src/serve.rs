//! Serving: one service on its own port and to its peers in this process, with health and reflection.

use std::{
    io,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::atomic::Ordering,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use tokio::{net::TcpListener, time::Instant};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Status, body::Body, service::Routes, transport::Server};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::Layer;

use crate::{Ids, RequestContext, Runtime, Service, Tasks, channel::Incoming, service::Answer};

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
    for (what, work) in service.background {
        let (name, broken) = (service.name, service.broken.clone());
        background.spawn(async move {
            // A task that panics must not be missed: the process is not ready any more until it is started again.
            if AssertUnwindSafe(work).catch_unwind().await.is_err() {
                broken.store(true, Ordering::Relaxed);
                tracing::error!(service = name, task = what, "a background task panicked");
            }
        });
    }
    let servers = Tasks::new();
    let layer = RequestLayer {
        ids: runtime.ids.clone(),
        complete: interface.complete,
    };
    let tcp = TcpListenerStream::new(listener).map(|connection| {
        if let Ok(connection) = &connection {
            // Without it an answer may wait for the acknowledgement of the one before.
            let _ = connection.set_nodelay(true);
        }
        connection
    });
    serve_on(tcp.boxed(), routes.clone(), layer.clone(), &servers, service.name);
    serve_on(
        UnboundedReceiverStream::new(incoming).map(Ok).boxed(),
        routes,
        layer,
        &servers,
        service.name,
    );
    Ok(Running {
        name: service.name,
        address,
        grpc_name: service.grpc_name,
        health,
        servers,
        background,
    })
}

impl Running {
    /// Says that it stops, takes no more calls, waits for those in flight and for its tasks: at most for `limit` in all.
    pub async fn stop(self, limit: Duration) {
        let until = Instant::now() + limit;
        self.health
            .set_service_status(self.grpc_name, ServingStatus::NotServing)
            .await;
        self.health.set_service_status("", ServingStatus::NotServing).await;
        let drained = self.servers.stop(limit).await;
        let ended = self
            .background
            .stop(until.saturating_duration_since(Instant::now()))
            .await;
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

fn serve_on<C>(
    connections: BoxStream<'static, io::Result<C>>,
    routes: Routes,
    layer: RequestLayer,
    servers: &Tasks,
    name: &'static str,
) where
    C: tokio::io::AsyncRead + tokio::io::AsyncWrite + tonic::transport::server::Connected + Unpin + Send + 'static,
{
    let stop = servers.clone();
    servers.spawn(async move {
        let served = Server::builder()
            .timeout(HANDLER_TIMEOUT)
            .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
            .max_connection_age(connection_age())
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .layer(layer)
            .add_routes(routes)
            .serve_with_incoming_shutdown(connections, async move { stop.stopping().await })
            .await;
        if let Err(error) = served {
            tracing::error!(service = name, %error, "the server ended");
        }
    });
}

/// Not the same for all, or all callers would come back at once.
fn connection_age() -> Duration {
    CONNECTION_AGE + CONNECTION_AGE.mul_f64(fastrand::f64())
}

/// Runs each handler in the context of its request, turns a panic into `INTERNAL`, and completes statuses.
#[derive(Debug, Clone)]
struct RequestLayer {
    ids: Ids,
    complete: fn(Status) -> Status,
}

impl<S> Layer<S> for RequestLayer {
    type Service = WithContext<S>;

    fn layer(&self, inner: S) -> WithContext<S> {
        WithContext {
            inner,
            layer: self.clone(),
        }
    }
}

#[derive(Debug, Clone)]
struct WithContext<S> {
    inner: S,
    layer: RequestLayer,
}

impl<S> tower::Service<Request<Body>> for WithContext<S>
where
    S: tower::Service<Request<Body>, Response = Answer> + Send,
    S::Future: Send + 'static,
    S::Error: Send,
{
    type Response = Answer;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Answer, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let context = RequestContext::from_headers(request.headers(), &self.layer.ids);
        let path = request.uri().path().to_owned();
        let complete = self.layer.complete;
        let handler = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        context
            .scope(async move {
                let Ok(answer) = handler.await else {
                    tracing::error!(call = path, "a handler panicked");
                    return Ok(complete(Status::internal("internal error")).into_http());
                };
                answer.map(|answer| completed(answer, complete))
            })
            .boxed()
    }
}

/// An answer that failed before its body began has its status in the headers.
fn completed(answer: Answer, complete: fn(Status) -> Status) -> Answer {
    const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
    const STATUS: HeaderName = HeaderName::from_static("grpc-status");
    let headers: &HeaderMap<HeaderValue> = answer.headers();
    let failed = headers.get(STATUS).is_some_and(|code| code != "0");
    if !failed || headers.contains_key(DETAILS) {
        return answer;
    }
    match Status::from_header_map(headers) {
        Some(status) => complete(status).into_http(),
        None => answer,
    }
}
