//! Whether a process is alive, and whether what it needs is there.

use std::{collections::BTreeMap, fmt, sync::Arc};

use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::get};
use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, join_all},
    stream::FuturesUnordered,
};
use serde::Serialize;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{channel::Peer, deadlines};

type Check = Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// Finds out whether one dependency answers.
#[derive(Clone)]
pub struct Probe {
    name: String,
    check: Check,
    /// Without it the process does its work all the same.
    optional: bool,
}

impl Probe {
    pub fn new<F>(name: impl Into<String>, check: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        Self {
            name: name.into(),
            check: Arc::new(move || check().boxed()),
            optional: false,
        }
    }

    /// Asks a peer, by gRPC's health protocol, whether it serves.
    pub fn of_peer(name: impl Into<String>, peer: Peer) -> Self {
        Self::new(name, move || serves(peer.clone()))
    }

    /// One that is up when any of these is.
    pub fn any(name: impl Into<String>, probes: Vec<Self>) -> Self {
        let probes: Arc<[Self]> = probes.into();
        Self::new(name, move || {
            let probes = probes.clone();
            async move {
                let mut answers: FuturesUnordered<_> = probes.iter().map(|probe| (probe.check)()).collect();
                while let Some(up) = answers.next().await {
                    if up {
                        return true;
                    }
                }
                false
            }
        })
    }

    /// Shows whether the dependency answers, and leaves the process ready when it does not: requests are served without it.
    #[must_use]
    pub fn optional(self) -> Self {
        Self { optional: true, ..self }
    }
}

async fn serves(peer: Peer) -> bool {
    // The process as a whole: it has no other name there.
    let answer = HealthClient::new(peer).check(HealthCheckRequest::default()).await;
    answer.is_ok_and(|answer| answer.get_ref().status() == ServingStatus::Serving)
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Probe").field(&self.name).finish()
    }
}

/// The probes of a process, as HTTP shows them.
#[derive(Debug, Clone, Default)]
pub struct Health {
    probes: Arc<[Probe]>,
    notes: BTreeMap<&'static str, &'static str>,
}

#[derive(Debug, Serialize)]
struct Report {
    status: &'static str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    dependencies: BTreeMap<String, &'static str>,
    /// What is worth knowing, and leaves the process ready.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    notes: BTreeMap<&'static str, &'static str>,
}

impl Health {
    pub fn new(probes: Vec<Probe>) -> Self {
        Self {
            probes: probes.into(),
            notes: BTreeMap::new(),
        }
    }

    /// Adds something that readiness says of the process, whatever its probes say.
    #[must_use]
    pub fn note(mut self, name: &'static str, value: &'static str) -> Self {
        self.notes.insert(name, value);
        self
    }

    /// `/health/live` and `/health/ready`.
    pub fn routes<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        let live = || async {
            Json(Report {
                status: "ok",
                dependencies: BTreeMap::new(),
                notes: BTreeMap::new(),
            })
        };
        Router::new()
            .route("/health/live", get(live))
            .route("/health/ready", get(move || self.clone().ready()))
    }

    async fn ready(self) -> impl IntoResponse {
        let results = join_all(self.probes.iter().map(|probe| async move {
            let up = tokio::time::timeout(deadlines::PROBE, (probe.check)())
                .await
                .unwrap_or(false);
            (probe, up)
        }))
        .await;
        let all = results.iter().all(|(_, up)| *up);
        let needed = results.iter().all(|(probe, up)| *up || probe.optional);
        let dependencies = results
            .into_iter()
            .map(|(probe, up)| (probe.name.clone(), if up { "up" } else { "down" }))
            .collect();
        let (code, status) = match (needed, all) {
            (true, true) => (StatusCode::OK, "ok"),
            (true, false) => (StatusCode::OK, "degraded"),
            (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        let notes = self.notes;
        let report = Report {
            status,
            dependencies,
            notes,
        };
        (code, Json(report))
    }
}
