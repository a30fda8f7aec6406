//! Takes up sagas whose driver is gone.

use std::time::Duration;

use runtime::{
    RequestContext, Tasks,
    telemetry::{about, chain},
};
use tracing::Instrument;

use super::Sagas;

const EVERY: Duration = Duration::from_secs(1);
/// Sagas that are taken up at once, at most.
const BATCH: u32 = 100;

/// Runs until the tasks are stopping: at start, and then every second, claims whatever is due and drives it.
pub async fn run(sagas: Sagas, tasks: Tasks) {
    // What an earlier life of this process drove, if it had the same name, is due now: nobody else drives it.
    while let Err(error) = sagas.ports.journal.disown(&sagas.lease.owner).await {
        tracing::warn!(error = chain(&error), "the journal cannot be read; trying again");
        if !tasks.sleep(EVERY).await {
            return;
        }
    }
    loop {
        // No more than can be driven now: a saga that waits for a place would be claimed again when its lease runs out.
        match sagas
            .ports
            .journal
            .claim_due(&sagas.lease, sagas.free_places().min(BATCH))
            .await
        {
            Ok(claimed) => {
                for claim in claimed {
                    let (sagas, context) = (sagas.clone(), RequestContext::new(&sagas.ids));
                    let span = context.span();
                    let work = async move {
                        about("checkout", &claim.checkout.id);
                        tracing::info!(state = claim.checkout.state.name(), "taking up a saga");
                        let place = sagas.place().await;
                        sagas.drive(claim, place).await;
                    };
                    tasks.spawn(context.scope(work).instrument(span));
                }
            }
            Err(error) => tracing::warn!(error = chain(&error), "no sagas could be claimed; trying again"),
        }
        if !tasks.sleep(EVERY).await {
            return;
        }
    }
}
