//! Channels to other services: the same type, the same deadlines and the same layers, whether the peer lives in this process
//! or on another machine.

use std::{
    fmt, io,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use http::{HeaderValue, Request};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::{io::DuplexStream, sync::mpsc};
use tonic::{
    Status,
    body::Body,
    transport::{Channel, Endpoint, Uri},
};
use tower::{BoxError, Service as _, service_fn};

use crate::{CrashPoints, Fault, Faults, RequestContext, service::Answer};

/// The buffer of an in-process connection, in bytes each way.
const DUPLEX_BUFFER: usize = 64 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const GRPC_TIMEOUT_HEADER: &str = "grpc-timeout";

/// Where the server's halves of in-process connections come out.
pub type Incoming = mpsc::UnboundedReceiver<DuplexStream>;

/// What every channel of a process does to the calls that pass it.
#[derive(Debug, Clone)]
pub struct Policy {
    /// How long a call may take that has no deadline of its own.
    pub deadline: Duration,
    pub crash: CrashPoints,
    pub faults: Faults,
}

/// A channel to one service, as the generated clients take it. All calls are unary; an answer is read whole before it is
/// handed on, so that the deadline holds for all of it.
#[derive(Clone)]
pub struct Peer {
    channel: Channel,
    policy: Policy,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Peer")
    }
}

impl Peer {
    /// A channel to a server in this process, and the connections that the server is to take.
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
        (Self { channel, policy }, incoming)
    }

    /// A channel over TCP to `host:port`. It connects when it is first used, and again whenever the connection was lost.
    pub fn tcp(address: &str, policy: Policy) -> Result<Self, tonic::transport::Error> {
        let channel = Endpoint::from_shared(format!("http://{address}"))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5))
            .connect_lazy();
        Ok(Self { channel, policy })
    }
}

impl tower::Service<Request<Body>> for Peer {
    type Response = Answer;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Answer, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.channel.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // The clone that takes this one's place is not ready yet; the one that was made ready makes the call.
        let clone = self.channel.clone();
        let channel = std::mem::replace(&mut self.channel, clone);
        let policy = self.policy.clone();
        let deadline = prepare(&mut request, policy.deadline);
        async move {
            let name = call_name(request.uri().path());
            policy.crash.before("call", &name);
            let call = with_fault(channel, request, policy.faults.of(&name));
            let answer = tokio::time::timeout(deadline, call)
                .await
                .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer within the deadline").into()));
            policy.crash.after("call", &name);
            answer
        }
        .boxed()
    }
}

/// Gives the request its context and its deadline, and returns the latter.
fn prepare(request: &mut Request<Body>, default: Duration) -> Duration {
    if let Some(context) = RequestContext::current() {
        context.write_to(request.headers_mut());
    }
    if let Some(deadline) = request.headers().get(GRPC_TIMEOUT_HEADER).and_then(grpc_timeout) {
        return deadline;
    }
    if let Ok(value) = HeaderValue::from_str(&format!("{}m", default.as_millis())) {
        request.headers_mut().insert(GRPC_TIMEOUT_HEADER, value);
    }
    default
}

/// Reads the header as the gRPC protocol writes it: at most 8 digits and a unit.
fn grpc_timeout(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
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

async fn exchange(channel: &mut Channel, request: Request<Body>) -> Result<Answer, BoxError> {
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await?;
    let (parts, body) = channel.call(request).await?.into_parts();
    let whole = body.collect().await?;
    Ok(Answer::from_parts(parts, Body::new(whole)))
}

async fn with_fault(mut channel: Channel, request: Request<Body>, fault: Option<Fault>) -> Result<Answer, BoxError> {
    let lost = || Status::unavailable("connection lost").into();
    match fault {
        None => exchange(&mut channel, request).await,
        Some(Fault::NeverArrives) => Err(lost()),
        Some(Fault::AnswerLost) => {
            exchange(&mut channel, request).await?;
            Err(lost())
        }
        Some(Fault::Slow(delay)) => {
            let answer = exchange(&mut channel, request).await;
            tokio::time::sleep(delay).await;
            answer
        }
        Some(Fault::Twice) => {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let copy = || Body::new(http_body_util::Full::new(body.clone()));
            exchange(&mut channel, Request::from_parts(parts.clone(), copy())).await?;
            exchange(&mut channel, Request::from_parts(parts, copy())).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        let read = |text| grpc_timeout(&HeaderValue::from_static(text));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("3S"), Some(Duration::from_secs(3)));
        assert_eq!(read(""), None);
        assert_eq!(read("5x"), None);
    }

    #[test]
    fn calls_are_named_by_service_and_method() {
        assert_eq!(call_name("/inventory.v1.InventoryService/Reserve"), "inventory.Reserve");
    }
}
