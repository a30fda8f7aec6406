//! Takes up sagas whose driver is gone, and those whose wait is over.

use std::time::Duration;

use runtime::{
    RequestContext,
    telemetry::{about, chain},
};
use tracing::Instrument;

use super::Engine;
use crate::{
    journal::Claimed,
    machine::{Machine, State},
};

const EVERY: Duration = Duration::from_secs(1);
/// Sagas that are taken up at once, at most.
const BATCH: u32 = 100;

impl<M: Machine> Engine<M> {
    /// Runs until the tasks are stopping: at start, and then every second, claims whatever is due and drives it.
    pub async fn recover(&self) {
        // What an earlier life of this process drove, if it had the same name, is due now: nobody else drives it.
        while let Err(error) = self.journal.release_all(&self.lease.owner).await {
            tracing::warn!(error = chain(&error), "the journal cannot be read; trying again");
            if !self.tasks.sleep(EVERY).await {
                return;
            }
        }
        loop {
            // No more than can be driven now: a saga that waits for a permit would be claimed again when its lease runs out.
            match self
                .journal
                .claim_due(&self.lease, self.free_permits().min(BATCH))
                .await
            {
                Ok(claimed) => claimed.into_iter().for_each(|claimed| self.take_up(claimed)),
                Err(error) => tracing::warn!(error = chain(&error), "no sagas could be claimed; trying again"),
            }
            let is_stopping = tokio::select! {
                slept = self.tasks.sleep(EVERY) => !slept,
                () = self.due.notified() => self.tasks.is_stopping(),
            };
            if is_stopping {
                return;
            }
        }
    }

    /// Drives a saga under the request that began it.
    fn take_up(&self, claimed: Claimed<M>) {
        let engine = self.clone();
        let context = claimed.saga.context.clone();
        let context = context.unwrap_or_else(|| RequestContext::new(&self.ids));
        let span = context.span();
        let work = async move {
            about(M::KIND, &claimed.saga.id);
            tracing::info!(state = claimed.saga.state.name(), "taking up a saga");
            let permit = engine.permit().await;
            engine.drive(claimed, permit).await;
        };
        self.tasks.spawn(context.scope(work).instrument(span));
    }
}
