//! Recovery: resumes sagas whose driver died, and sagas whose wait is over.

use std::time::Duration;

use runtime::{
    RequestContext,
    telemetry::{chain, record_subject},
};
use tracing::Instrument;

use super::Engine;
use crate::{
    journal::Claimed,
    machine::{Machine, State},
};

const INTERVAL: Duration = Duration::from_secs(1);
/// Pauses between attempts to release the leases of an earlier run. They bound how long a start waits: 3.1 s.
const RELEASE_PAUSES: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1600),
];
/// The most sagas that one claim takes.
const BATCH: u32 = 100;

impl<M: Machine> Engine<M> {
    /// Releases the leases that an earlier run of this process left behind, so that its sagas need not wait until they
    /// expire. Owner names are unique among live processes. Call this before the first saga begins: afterwards, it
    /// would release the leases of this run.
    pub async fn release_leases_of_earlier_run(&self) {
        for pause in RELEASE_PAUSES {
            if !self.tasks.sleep(pause).await {
                return;
            }
            match self.journal.release_all(&self.lease.owner).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(error = chain(&error), "the leases of an earlier run were not released"),
            }
        }
        tracing::warn!("the leases of an earlier run have to expire");
    }

    /// Claims and drives what is due: at start, every second, and after each signal, until the tasks are stopping.
    pub async fn recover(&self) {
        loop {
            // Claims at most as many sagas as there are free permits. Otherwise a claimed saga could lose its lease
            // while it waits for a permit.
            match self
                .journal
                .claim_due(&self.lease, self.free_permits().min(BATCH))
                .await
            {
                Ok(claimed) => claimed.into_iter().for_each(|claimed| self.resume(claimed)),
                Err(error) => tracing::warn!(error = chain(&error), "no sagas could be claimed; trying again"),
            }
            let is_stopping = tokio::select! {
                slept = self.tasks.sleep(INTERVAL) => !slept,
                () = self.due.notified() => self.tasks.is_stopping(),
            };
            if is_stopping {
                return;
            }
        }
    }

    /// Drives a saga in the context of the request that began it.
    fn resume(&self, claimed: Claimed<M>) {
        let engine = self.clone();
        let context = claimed.saga.context.clone();
        let context = context.unwrap_or_else(|| RequestContext::new(&self.ids));
        let span = context.span();
        let work = async move {
            record_subject(M::KIND, &claimed.saga.id);
            tracing::info!(state = claimed.saga.state.name(), "resuming a saga");
            let permit = engine.permit().await;
            engine.drive(claimed, permit).await;
        };
        self.tasks.spawn(context.scope(work).instrument(span));
    }
}
