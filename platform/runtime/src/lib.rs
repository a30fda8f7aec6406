//! What a service needs to live: a clock, ids, tasks that end, channels to its peers, a server with health and reflection,
//! the context of a request, configuration values and logs. It knows no business word.

pub mod channel;
mod clock;
pub mod config;
mod context;
pub mod deadlines;
mod faults;
pub mod health;
pub mod http;
mod ids;
pub mod places;
mod points;
pub mod serve;
mod service;
mod supervision;
mod tasks;
pub mod telemetry;
mod topic;

pub use clock::Clock;
pub use context::{MAX_REQUEST_ID, REQUEST_ID_HEADER, RequestContext, TRACEPARENT_HEADER, trace_id};
pub use faults::{Fault, Faults};
pub use health::{Health, Probe};
pub use ids::Ids;
pub use points::{Kind, Passage, Points};
pub use service::Service;
pub use supervision::{Name, Wellbeing};
pub use tasks::Tasks;
pub use topic::Topic;

/// Time, ids, tasks, points and limits, as values: a test holds them, and two shops can live in one process.
#[derive(Clone)]
pub struct Runtime {
    pub clock: Clock,
    pub ids: Ids,
    pub tasks: Tasks,
    pub points: Points,
    /// What its servers have for their callers.
    pub limits: serve::Limits,
}

impl Runtime {
    /// The real clock, random ids, no points that do anything.
    pub fn system() -> Self {
        Self {
            clock: Clock::system(),
            ids: Ids::random(),
            tasks: Tasks::new(),
            points: Points::none(),
            limits: serve::Limits::default(),
        }
    }

    /// The same, with tasks that can be stopped on their own.
    #[must_use]
    pub fn with_own_tasks(&self) -> Self {
        Self {
            tasks: Tasks::new(),
            ..self.clone()
        }
    }
}
