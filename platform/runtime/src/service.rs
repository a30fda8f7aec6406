//! A service as the process that runs it sees it.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::{FutureExt, future::BoxFuture};
use http::{Request, Response};
use tonic::{
    body::Body,
    server::NamedService,
    service::{Routes, RoutesBuilder},
};

use crate::{Probe, Tasks};

/// What building a service yields: gRPC routes, background tasks and readiness probes. Nothing runs yet.
pub struct Service {
    /// Its short name: `cart`.
    pub name: &'static str,
    /// Its name in gRPC: `cart.v1.CartService`.
    pub grpc_name: &'static str,
    pub(crate) routes: Routes,
    pub(crate) background: Vec<(&'static str, BoxFuture<'static, ()>)>,
    /// The tasks that it started itself, for requests that outlive their caller.
    pub(crate) tasks: Tasks,
    pub probes: Vec<Probe>,
    /// Whether a background task has panicked: then the service is not ready until it is started again.
    pub(crate) broken: Arc<AtomicBool>,
}

impl Service {
    /// A service with its gRPC server. `tasks` are those of the runtime that it was built with.
    pub fn new<S>(name: &'static str, grpc: S, tasks: Tasks) -> Self
    where
        S: tower::Service<Request<Body>, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
        S::Response: axum::response::IntoResponse,
        S::Future: Send + 'static,
    {
        let mut builder = RoutesBuilder::default();
        builder.add_service(grpc);
        let broken = Arc::new(AtomicBool::new(false));
        let intact = broken.clone();
        let probe = Probe::new(format!("{name}-tasks"), move || {
            let intact = !intact.load(Ordering::Relaxed);
            async move { intact }
        });
        let probes = vec![probe];
        Self {
            name,
            grpc_name: S::NAME,
            routes: builder.routes(),
            background: Vec::new(),
            tasks,
            probes,
            broken,
        }
    }

    /// Adds work that runs as long as the service does; it should end soon after the tasks are stopping.
    #[must_use]
    pub fn background(mut self, what: &'static str, work: impl Future<Output = ()> + Send + 'static) -> Self {
        self.background.push((what, work.boxed()));
        self
    }

    #[must_use]
    pub fn probe(mut self, probe: Probe) -> Self {
        self.probes.push(probe);
        self
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// An HTTP answer of a gRPC server.
pub(crate) type Answer = Response<Body>;
