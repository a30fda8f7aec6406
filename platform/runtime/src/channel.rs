//! Channels to other services, with the same type, deadlines and layers for peers in this process and on other machines.
//!
//! A call whose connection is lost is sent once more, on another connection, so that the loss of a replica goes
//! unnoticed. The first delivery may have been executed. So each call has an id, equal for both deliveries, which a
//! service with non-idempotent methods checks ([`call_id`]). Calls with a key of their own do not need the id.

mod replicas;

use std::{
    fmt, io,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http::{HeaderName, HeaderValue, Request, request::Parts};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::rt::TokioIo;
use tokio::{io::DuplexStream, sync::mpsc};
use tonic::{
    Status,
    body::Body,
    metadata::MetadataMap,
    transport::{Channel, Endpoint, Uri},
};
use tower::{BoxError, Service as _, service_fn};
use uuid::Uuid;

use crate::{
    Fault, Faults, Ids, PointKind, Points, RequestContext, deadlines, serve::MAX_MESSAGE_OUT, service::GrpcResponse,
};
use replicas::{ConnectionGuard, Replicas};

/// The buffer of an in-process connection, in bytes each way.
const DUPLEX_BUFFER: usize = 64 * 1024;
const GRPC_TIMEOUT_HEADER: &str = "grpc-timeout";
const CALL_ID_HEADER: HeaderName = HeaderName::from_static("x-call-id");
/// The largest answer, in bytes: a message with its frame header.
const MAX_ANSWER: usize = MAX_MESSAGE_OUT + 5;
/// Channels to one address, each with one connection that is opened when needed. Together they carry 1,024 calls of one
/// caller, as a service accepts 128 on each.
const CHANNELS: usize = 8;

/// The server's ends of in-process connections.
pub type Incoming = mpsc::UnboundedReceiver<DuplexStream>;

/// What the channels of a process do with each call.
#[derive(Debug, Clone)]
pub struct Policy {
    /// For calls without a deadline of their own.
    pub deadline: Duration,
    pub points: Points,
    pub faults: Faults,
}

/// The id of a call, the same when the call is delivered again. `None` for calls that did not come from a [`Peer`].
pub fn call_id(metadata: &MetadataMap) -> Option<Uuid> {
    metadata.get(CALL_ID_HEADER.as_str())?.to_str().ok()?.parse().ok()
}

/// A channel to one service, for the generated clients. All calls are unary. An answer is read whole before it is
/// returned, so that the deadline includes reading it.
#[derive(Clone)]
pub struct Peer {
    replicas: Arc<Replicas>,
    policy: Policy,
    ids: Ids,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Peer")
    }
}

impl Peer {
    /// A channel to a server in this process, and the connections for that server.
    pub fn in_process(policy: Policy) -> (Self, Incoming) {
        let (connections, incoming) = mpsc::unbounded_channel();
        let connect = service_fn(move |_: Uri| {
            let connections = connections.clone();
            async move {
                let (client, server) = tokio::io::duplex(DUPLEX_BUFFER);
                connections
                    .send(server)
                    .map_err(|_| io::Error::new(io::ErrorKind::ConnectionRefused, "the service has stopped"))?;
                Ok::<_, io::Error>(TokioIo::new(client))
            }
        });
        let channel = Endpoint::from_static("http://in-process").connect_with_connector_lazy(connect);
        (Self::new(vec![vec![channel]], policy), incoming)
    }

    /// A TCP channel to the replicas of a service, given as comma-separated `host:port`. Calls go round-robin. Connects
    /// on first use, after a lost connection, and when the connections are busy.
    pub fn tcp(addresses: &str, policy: Policy) -> Result<Self, tonic::transport::Error> {
        let channels = |address: &str| {
            let endpoint = Endpoint::from_shared(format!("http://{}", address.trim()))?
                .connect_timeout(deadlines::CONNECT)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(Duration::from_secs(10))
                .keep_alive_timeout(Duration::from_secs(5));
            Ok((0..CHANNELS).map(|_| endpoint.connect_lazy()).collect())
        };
        let addresses = addresses.split(',').map(channels).collect::<Result<_, _>>()?;
        Ok(Self::new(addresses, policy))
    }

    /// One element per address, with the channels to that address.
    fn new(addresses: Vec<Vec<Channel>>, policy: Policy) -> Self {
        Self {
            replicas: Arc::new(Replicas::new(addresses)),
            policy,
            ids: Ids::random(),
        }
    }
}

impl tower::Service<Request<Body>> for Peer {
    type Response = GrpcResponse;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<GrpcResponse, BoxError>>;

    // The connection is chosen when the call is made.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Self { replicas, policy, ids } = self.clone();
        let deadline = prepare(&mut request, ids.next(), policy.deadline);
        async move {
            let name = call_name(request.uri().path());
            let point_guard = policy.points.enter(PointKind::Call, &name);
            let call = async {
                let (parts, body) = request.into_parts();
                let call = RetryableCall {
                    replicas: &replicas,
                    parts,
                    body: body.collect().await?.to_bytes(),
                };
                call.with_fault(policy.faults.of(&name)).await
            };
            let answer = tokio::time::timeout(deadline, call)
                .await
                .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer within the deadline").into()));
            // An error status is an answer, too. Without an answer the outcome is unknown.
            if answer.is_ok() {
                point_guard.done();
            }
            answer
        }
        .boxed()
    }
}

/// Adds context, id and deadline to the request, and returns the deadline.
fn prepare(request: &mut Request<Body>, id: Uuid, default: Duration) -> Duration {
    if let Some(context) = RequestContext::current() {
        context.write_to(request.headers_mut());
    }
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        request.headers_mut().insert(CALL_ID_HEADER, id);
    }
    if let Some(deadline) = request.headers().get(GRPC_TIMEOUT_HEADER).and_then(grpc_timeout) {
        return deadline;
    }
    if let Ok(value) = HeaderValue::from_str(&format!("{}m", default.as_millis())) {
        request.headers_mut().insert(GRPC_TIMEOUT_HEADER, value);
    }
    default
}

/// Parses the `grpc-timeout` header: at most 8 digits and a unit.
pub(crate) fn grpc_timeout(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// `/inventory.v1.InventoryService/Reserve` → `inventory.Reserve`.
fn call_name(path: &str) -> String {
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
    format!("{}.{method}", service.split('.').next().unwrap_or_default())
}

/// A call that can be sent again.
struct RetryableCall<'a> {
    replicas: &'a Replicas,
    parts: Parts,
    body: Bytes,
}

impl RetryableCall<'_> {
    async fn with_fault(&self, fault: Option<Fault>) -> Result<GrpcResponse, BoxError> {
        let lost = || Status::unavailable("connection lost").into();
        match fault {
            None => self.deliver().await,
            Some(Fault::NeverArrives) => Err(lost()),
            Some(Fault::AnswerLost) => {
                self.deliver().await?;
                Err(lost())
            }
            Some(Fault::Slow(delay)) => {
                let answer = self.deliver().await;
                tokio::time::sleep(delay).await;
                answer
            }
            Some(Fault::Twice) => {
                self.deliver().await?;
                self.deliver().await
            }
        }
    }

    /// Sends the call, and once more if the connection is lost or cannot be made.
    async fn deliver(&self) -> Result<GrpcResponse, BoxError> {
        let replica = self.replicas.next(None);
        let error = match self.send(replica.connection()).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        tracing::debug!(
            call = self.parts.uri.path(),
            error,
            "a connection was lost; sending again"
        );
        self.send(self.replicas.next(Some(replica.index())).connection_in_use())
            .await
    }

    async fn send(&self, connection: ConnectionGuard<'_>) -> Result<GrpcResponse, BoxError> {
        let answer = self.exchange(connection.channel()).await;
        if answer.is_err() {
            connection.mark_lost();
        }
        answer
    }

    async fn exchange(&self, mut channel: Channel) -> Result<GrpcResponse, BoxError> {
        let request = Request::from_parts(self.parts.clone(), Body::new(Full::new(self.body.clone())));
        std::future::poll_fn(|cx| channel.poll_ready(cx)).await?;
        let (parts, body) = channel.call(request).await?.into_parts();
        match Limited::new(body, MAX_ANSWER).collect().await {
            Ok(whole) => Ok(GrpcResponse::from_parts(parts, Body::new(whole))),
            Err(error) if error.is::<LengthLimitError>() => {
                Ok(Status::resource_exhausted("the answer is larger than a caller accepts").into_http())
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts_are_parsed() {
        let read = |text| grpc_timeout(&HeaderValue::from_static(text));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("3S"), Some(Duration::from_secs(3)));
        assert_eq!(read(""), None);
        assert_eq!(read("5x"), None);
        assert_eq!(read("99999999H"), Some(Duration::from_hours(99_999_999)));
        assert_eq!(read("999999999H"), None);
    }

    #[test]
    fn calls_are_named_by_service_and_method() {
        assert_eq!(call_name("/inventory.v1.InventoryService/Reserve"), "inventory.Reserve");
    }
}
