//! A service as the process that runs it sees it.

use std::{convert::Infallible, fmt, future::Future};

use futures::{FutureExt, future::BoxFuture};
use http::{Request, Response};
use tonic::{
    body::Body,
    server::NamedService,
    service::{Routes, RoutesBuilder},
};

use crate::{Probe, Tasks, supervision::Wellbeing};

/// Starts a piece of background work.
pub(crate) type Work = Box<dyn Fn() -> BoxFuture<'static, ()> + Send>;

/// What building a service yields: gRPC routes, background tasks and readiness probes. Nothing runs yet.
pub struct Service {
    /// Its short name: `cart`.
    pub name: &'static str,
    /// Its name in gRPC: `cart.v1.CartService`.
    pub grpc_name: &'static str,
    pub(crate) routes: Routes,
    pub(crate) background: Vec<(&'static str, Work)>,
    /// The tasks that it started itself, for requests that outlive their caller.
    pub(crate) tasks: Tasks,
    /// What its stores do for callers that may have gone away.
    pub(crate) transactions: Vec<Tasks>,
    pub probes: Vec<Probe>,
    /// Whether its servers and its background work run: if not, the service is not ready.
    pub(crate) wellbeing: Wellbeing,
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
        let wellbeing = Wellbeing::default();
        let of_tasks = wellbeing.clone();
        let probe = Probe::new(format!("{name}-tasks"), move || {
            let is_well = of_tasks.is_well();
            async move { is_well }
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
            wellbeing,
        }
    }

    /// Its tasks, for work that has to know when they are stopping.
    pub fn tasks(&self) -> Tasks {
        self.tasks.clone()
    }

    /// Adds work that runs as long as the service does; it should end soon after the tasks are stopping. `work` starts it:
    /// again, too, when it has panicked or ended before.
    #[must_use]
    pub fn background<F>(mut self, what: &'static str, work: impl Fn() -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.background.push((what, Box::new(move || work().boxed())));
        self
    }

    /// Adds the transactions of a store. They are waited for at the very end, when nobody is left who could begin one.
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

/// An HTTP answer of a gRPC server.
pub(crate) type Answer = Response<Body>;
