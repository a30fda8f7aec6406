//! Liveness and readiness of a process.

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

/// Checks whether one dependency answers.
#[derive(Clone)]
pub struct Probe {
    name: String,
    check: Check,
    /// The process is ready without this dependency.
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

    /// Checks a peer by gRPC's health protocol.
    pub fn of_peer(name: impl Into<String>, peer: Peer) -> Self {
        Self::new(name, move || serves(peer.clone()))
    }

    /// Up if any of these probes is.
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

    /// The probe is shown, but the process stays ready when it fails: requests are served without the dependency.
    #[must_use]
    pub fn optional(self) -> Self {
        Self { optional: true, ..self }
    }
}

async fn serves(peer: Peer) -> bool {
    // The empty name: the process as a whole.
    let answer = HealthClient::new(peer).check(HealthCheckRequest::default()).await;
    answer.is_ok_and(|answer| answer.get_ref().status() == ServingStatus::Serving)
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Probe").field(&self.name).finish()
    }
}

/// The probes of a process, as HTTP endpoints.
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
    /// Facts that do not affect readiness.
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

    /// Adds a fact to the readiness report, which does not affect readiness.
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
