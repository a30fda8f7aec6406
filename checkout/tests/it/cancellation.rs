//! Clients that hang up. How clients wait is tested with every saga: `saga::testing::waiting`.

use std::{future::Future, time::Duration};

use checkout::domain::Status;
use futures::poll;
use tokio::task::yield_now;

use crate::{
    fake_peers::{Fault, PeerCall},
    harness::{Harness, TIMEOUT, paid_with},
};

/// Polls the future at most this often, then drops it. True if it was ready.
async fn drop_after(polls: usize, initiate: impl Future) -> bool {
    let mut initiate = Box::pin(initiate);
    for _ in 0..polls {
        if poll!(initiate.as_mut()).is_ready() {
            return true;
        }
        yield_now().await;
    }
    false
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_at_any_moment_changes_nothing() {
    for method in ["pm_card_ok", "pm_card_declined"] {
        for fault in [None, Some(Fault::AnswerLost)] {
            // Dropped before the saga began, after it began, and not dropped.
            let mut seen = [0; 3];
            for polls in 0..40 {
                let harness = Harness::new();
                harness.peers.script(PeerCall::Charge, [fault]);
                let done = drop_after(polls, harness.checkouts.initiate(paid_with("k", method), TIMEOUT)).await;
                // A saga that has begun ends without its client.
                tokio::time::sleep(Duration::from_mins(1)).await;
                let what = format!("{method}, {fault:?}, dropped after {polls} polls");
                harness.assert_consistent(&what).await;
                let begun = harness.checkouts().await;
                seen[if done { 2 } else { begun.len() }] += 1;
                let repeated = harness.initiate(paid_with("k", method)).await.unwrap();
                assert_eq!(repeated.replayed, !begun.is_empty(), "{what}");
                let expected = if method == "pm_card_ok" {
                    Status::Completed
                } else {
                    Status::Failed
                };
                assert_eq!(repeated.checkout.status(), expected, "{what}");
                harness.only_checkout().await;
                harness.assert_consistent(&what).await;
            }
            assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
        }
    }
}
