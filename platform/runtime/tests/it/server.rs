//! A service with one method, whose behaviour the test sets.

use std::{
    convert::Infallible,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use http::uri::PathAndQuery;
use runtime::{
    Faults, Points, RequestContext, Runtime, Service,
    channel::{Peer, Policy, call_id},
    serve::Running,
};
use tokio::sync::Barrier;
use tonic::{Request, Response, Status, body::Body, server::NamedService};
use tonic_prost::ProstCodec;
use uuid::Uuid;

#[derive(Debug, Clone)]
pub(crate) enum Behaviour {
    Answer,
    /// Only [`OTHER`] is answered.
    Hang,
    /// An answer of this many bytes, after as many calls have arrived as the barrier waits for.
    AllAtOnce(usize, Arc<Barrier>),
    Panic,
}

#[derive(Debug, Clone)]
pub(crate) struct Echo {
    pub(crate) behaviour: Arc<Mutex<Behaviour>>,
    pub(crate) calls: Arc<AtomicUsize>,
    pub(crate) seen: Arc<Mutex<Option<RequestContext>>>,
    /// The ids of the calls, in order.
    pub(crate) ids: Arc<Mutex<Vec<Option<Uuid>>>>,
}

impl Echo {
    pub(crate) fn new() -> Self {
        Self {
            behaviour: Arc::new(Mutex::new(Behaviour::Answer)),
            calls: Arc::default(),
            seen: Arc::default(),
            ids: Arc::default(),
        }
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl NamedService for Echo {
    const NAME: &'static str = "test.v1.EchoService";
}

impl tower::Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let echo = self.clone();
        let is_other = request.uri().path() == OTHER.path();
        let method = tower::service_fn(move |request: Request<()>| {
            let echo = echo.clone();
            async move {
                echo.calls.fetch_add(1, Ordering::SeqCst);
                echo.ids.lock().unwrap().push(call_id(request.metadata()));
                *echo.seen.lock().unwrap() = RequestContext::current();
                let behaviour = echo.behaviour.lock().unwrap().clone();
                match behaviour {
                    Behaviour::Hang if !is_other => std::future::pending().await,
                    Behaviour::Answer | Behaviour::Hang => Ok::<_, Status>(Response::new(String::new())),
                    Behaviour::AllAtOnce(size, all) => {
                        all.wait().await;
                        Ok(Response::new("a".repeat(size)))
                    }
                    Behaviour::Panic => panic!("as the test wanted"),
                }
            }
        });
        async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<String, ()>::default());
            Ok(grpc.unary(method, request).await)
        }
        .boxed()
    }
}

pub(crate) fn policy(faults: Faults) -> Policy {
    Policy {
        deadline: Duration::from_millis(300),
        points: Points::none(),
        faults,
    }
}

/// Serves a new [`Echo`] in memory and on a port, and returns a channel for each.
pub(crate) async fn serve_echo(faults: Faults) -> (Echo, Running, Peer, Peer) {
    let (echo, runtime) = (Echo::new(), Runtime::system());
    let service = Service::new("echo", echo.clone(), runtime.tasks.clone());
    let (running, memory, tcp) = serve(service, faults, &runtime).await;
    (echo, running, memory, tcp)
}

/// Serves the service in memory and on a port, and returns a channel for each.
pub(crate) async fn serve(service: Service, faults: Faults, runtime: &Runtime) -> (Running, Peer, Peer) {
    let contract: testing::GrpcContract = (tonic_health::pb::FILE_DESCRIPTOR_SET, |status| status);
    let (memory, running) = testing::serve(service, contract, policy(faults.clone()), runtime).await;
    let tcp = Peer::tcp(&running.address.to_string(), policy(faults)).unwrap();
    (running, memory, tcp)
}

pub(crate) async fn call(peer: &Peer) -> Result<(), Status> {
    call_method(peer, PathAndQuery::from_static("/test.v1.EchoService/Echo")).await
}

/// Another method, which always answers.
pub(crate) static OTHER: LazyLock<PathAndQuery> =
    LazyLock::new(|| PathAndQuery::from_static("/test.v1.EchoService/Other"));

pub(crate) async fn call_method(peer: &Peer, path: PathAndQuery) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(peer.clone());
    grpc.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
    grpc.unary(Request::new(()), path, ProstCodec::<(), ()>::default())
        .await
        .map(Response::into_inner)
}
