//! Writes of the journal that are lost, or whose answer is lost.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Sample,
    fixture::{HOUR, lease},
    participants::{PATIENCE, World},
    recovery::refusals,
    run::expected,
};
use crate::journal::{Journal, memory::WriteFault};

pub async fn a_begin_whose_answer_was_lost_is_found_by_its_key<M: Sample>() {
    let world = World::<M>::new(None);
    let process = world.process("me");
    process.recover().await;
    world.journal.fail_nth_write(0, WriteFault::AnswerLost);
    process.begin_or_join("k", PATIENCE).await.unwrap_err();
    let again = process.begin_or_join("k", PATIENCE).await.unwrap();
    assert!(again.replayed);
    world.assert_ended(&again.saga, "a begin without an answer");
}

/// Recovery does not run, so only the driver that made the write can continue.
pub async fn a_driver_continues_at_once_after_a_record_whose_answer_was_lost<M: Sample>() {
    for refusal in refusals::<M>() {
        for nth in 0..2 {
            let world = World::<M>::new(refusal.clone());
            let gate = world.participants.gate(0, false);
            let running = world.process("me").start("k");
            gate.reached().await;
            // The participants send the signals first.
            world
                .journal
                .fail_nth_write(M::signals().len() + nth, WriteFault::AnswerLost);
            let began = Instant::now();
            gate.open();
            world.assert_ended(&running.await.unwrap().saga, &format!("{refusal:?}, record {nth}"));
            assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        }
    }
}

pub async fn a_driver_whose_record_is_lost_stops_when_another_process_has_claimed_its_saga<M: Sample>() {
    for nth in 0..expected::<M>(&None).1.len() {
        let world = World::<M>::new(None);
        let gate = world.participants.gate(nth, true);
        let running = world.process("me").start("k");
        gate.reached().await;
        world.journal.release_all("me").await.unwrap();
        let claimed = world.journal.claim_due(&lease("other", HOUR), 10).await.unwrap();
        world.journal.fail_nth_write(0, WriteFault::Lost);
        gate.open();
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(world.journal.sagas(), [claimed[0].saga.clone()], "call {nth}");
        world.process("other").recover().await;
        world.assert_ended(&running.await.unwrap().saga, &format!("a lost record after call {nth}"));
    }
}
