//! What every service needs: clock, ids, tasks, channels, servers, health, context, logs. Knows nothing of the business.

pub mod channel;
mod clock;
pub mod config;
mod context;
pub mod deadlines;
mod faults;
pub mod health;
pub mod http;
mod ids;
pub mod permits;
mod points;
pub mod serve;
mod service;
mod supervision;
mod tasks;
pub mod telemetry;
mod topic;

pub use clock::Clock;
pub use context::{REQUEST_ID_HEADER, RequestContext, TRACEPARENT_HEADER, is_request_id, trace_id};
pub use faults::{Fault, Faults};
pub use health::{Health, Probe};
pub use ids::Ids;
pub use points::{PointGuard, PointKind, Points};
pub use service::Service;
pub use tasks::Tasks;
pub use topic::Topic;

/// Time, ids, tasks, points and limits as values: tests replace them, and two shops can run in one process.
#[derive(Clone)]
pub struct Runtime {
    pub clock: Clock,
    pub ids: Ids,
    pub tasks: Tasks,
    pub points: Points,
    /// The limits of the process's gRPC servers.
    pub limits: serve::GrpcLimits,
}

impl Runtime {
    /// The system clock, random ids, and points that do nothing.
    pub fn system() -> Self {
        Self {
            clock: Clock::system(),
            ids: Ids::random(),
            tasks: Tasks::new(),
            points: Points::none(),
            limits: serve::GrpcLimits::default(),
        }
    }

    /// A copy whose tasks can be stopped separately.
    #[must_use]
    pub fn with_own_tasks(&self) -> Self {
        Self {
            tasks: Tasks::new(),
            ..self.clone()
        }
    }
}
