//! A service, ready to be run by a process.

use std::{convert::Infallible, fmt, future::Future};

use futures::{FutureExt, future::BoxFuture};
use http::{Request, Response};
use tonic::{
    body::Body,
    server::NamedService,
    service::{Routes, RoutesBuilder},
};

use crate::{Probe, Tasks, supervision::TaskHealth};

/// Starts a piece of background work.
pub(crate) type Work = Box<dyn Fn() -> BoxFuture<'static, ()> + Send>;

/// What building a service yields: gRPC routes, background tasks and readiness probes. Nothing runs yet.
pub struct Service {
    /// The short name: `cart`.
    pub name: &'static str,
    /// The name in gRPC: `cart.v1.CartService`.
    pub grpc_name: &'static str,
    pub(crate) routes: Routes,
    pub(crate) background: Vec<(&'static str, Work)>,
    /// The service's own tasks, for requests that outlive their caller.
    pub(crate) tasks: Tasks,
    /// Transactions of the service's stores, whose callers may have gone away.
    pub(crate) transactions: Vec<Tasks>,
    pub probes: Vec<Probe>,
    /// The service is not ready while a server or a background task is down.
    pub(crate) task_health: TaskHealth,
}

impl Service {
    /// A service with its gRPC server. `tasks` belong to the runtime that the service was built with.
    pub fn new<S>(name: &'static str, grpc: S, tasks: Tasks) -> Self
    where
        S: tower::Service<Request<Body>, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
        S::Response: axum::response::IntoResponse,
        S::Future: Send + 'static,
    {
        let mut builder = RoutesBuilder::default();
        builder.add_service(grpc);
        let task_health = TaskHealth::default();
        let probe_health = task_health.clone();
        let probe = Probe::new(format!("{name}-tasks"), move || {
            let healthy = probe_health.is_healthy();
            async move { healthy }
        });
        let probes = vec![probe];
        Self {
            name,
            grpc_name: S::NAME,
            routes: builder.routes(),
            background: Vec::new(),
            tasks,
            transactions: Vec::new(),
            probes,
            task_health,
        }
    }

    /// The service's tasks, for work that must know when to stop.
    pub fn tasks(&self) -> Tasks {
        self.tasks.clone()
    }

    /// Adds background work, which should end soon after the tasks are stopping. `work` starts it, again after a panic
    /// or an early end, too.
    #[must_use]
    pub fn background<F>(mut self, what: &'static str, work: impl Fn() -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.background.push((what, Box::new(move || work().boxed())));
        self
    }

    /// Adds the transactions of a store. The stop waits for them last, when nothing can begin new ones.
    #[must_use]
    pub fn waits_for(mut self, transactions: Tasks) -> Self {
        self.transactions.push(transactions);
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

/// The HTTP response of a gRPC call.
pub(crate) type GrpcResponse = Response<Body>;
