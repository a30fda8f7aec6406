//! Callers that wait, do not wait, or are cancelled; and processes that stop.

use std::{iter::once, time::Duration};

use futures::poll;
use tokio::{task::yield_now, time::Instant};

use super::{
    Sample,
    participants::{PATIENCE, World},
    run::expected,
};
use crate::engine::{BeginError, PERMITS};

const MOMENT: Duration = Duration::from_millis(20);
const SHORT: Duration = Duration::from_secs(5);

pub async fn a_caller_gets_the_current_state_at_its_deadline_and_the_end_later<M: Sample>() {
    let world = World::<M>::new(None);
    let process = world.process("me");
    let (_, effects) = expected::<M>(&None);
    let gate = world.participants.gate(effects.len() - 1, true);
    let began = Instant::now();
    let first = process.begin_or_join("k", SHORT).await.unwrap();
    assert!(began.elapsed() >= SHORT && began.elapsed() < SHORT + MOMENT);
    assert!(!first.replayed && !first.saga.is_final());
    assert_eq!(world.journal.sagas(), std::slice::from_ref(&first.saga));
    assert_ne!(first.saga.state, M::happy_path().remove(0));
    let second = process.begin_or_join("k", SHORT).await.unwrap();
    assert!(began.elapsed() < (SHORT + MOMENT) * 2);
    assert!(second.replayed);
    assert_eq!(second.saga, first.saga);
    let waiting = process.start("k");
    yield_now().await;
    gate.open();
    let end = waiting.await.unwrap();
    assert!(end.replayed);
    world.assert_ended(&end.saga, "a second caller");
    assert_eq!(process.begin_or_join("k", Duration::ZERO).await.unwrap().saga, end.saga);
}

pub async fn a_caller_without_patience_gets_the_first_state_at_once<M: Sample>() {
    let world = World::<M>::new(None);
    let process = world.process("me");
    let gate = world.participants.gate(0, false);
    let began = Instant::now();
    let answer = process.begin_or_join("k", Duration::ZERO).await.unwrap();
    assert!(began.elapsed() < MOMENT);
    assert_eq!(answer.saga.state, M::happy_path().remove(0));
    gate.open();
    world.assert_ended(&process.end_of(answer.saga.id).await, "no patience");
}

pub async fn a_caller_waits_on_while_the_journal_is_unavailable<M: Sample>() {
    let world = World::<M>::new(None);
    let process = world.process("me");
    let gate = world.participants.gate(0, false);
    let waiting = process.start("k");
    gate.reached().await;
    world.journal.make_get_unavailable(true);
    let short = process.begin_or_join("k", SHORT).await.unwrap();
    assert!(short.replayed && !short.saga.is_final());
    gate.open();
    world.assert_ended(&waiting.await.unwrap().saga, "an unavailable journal");
}

pub async fn a_caller_sees_an_end_that_is_reached_in_another_process<M: Sample>() {
    let world = World::<M>::new(None);
    let gate = world.participants.gate(0, false);
    let here = world.process("me").start("k");
    gate.reached().await;
    let there = world.process("other").start("k");
    yield_now().await;
    gate.open();
    let (here, there) = (here.await.unwrap(), there.await.unwrap());
    assert_eq!((here.replayed, there.replayed), (false, true));
    assert_eq!(here.saga, there.saga);
    world.assert_ended(&there.saga, "another process");
}

pub async fn sagas_in_progress_finish_before_new_ones_begin<M: Sample>() {
    let world = World::<M>::new(None);
    let process = world.process("me");
    let gates: Vec<_> = (0..PERMITS).map(|nth| world.participants.gate(nth, false)).collect();
    let running: Vec<_> = (0..PERMITS).map(|n| process.start(&format!("k{n}"))).collect();
    for gate in &gates {
        gate.reached().await;
    }
    let one_more = process.begin_or_join("one more", SHORT).await;
    assert!(matches!(one_more, Err(BeginError::Busy)), "{one_more:?}");
    assert_eq!(world.journal.sagas().len(), PERMITS);
    let known = process.begin_or_join("k0", Duration::ZERO).await.unwrap();
    assert!(known.replayed, "a known key needs no permit");
    let waiting = process.start("one more");
    yield_now().await;
    for gate in &gates {
        gate.open();
    }
    for caller in running.into_iter().chain(once(waiting)) {
        world.assert_ended(&caller.await.unwrap().saga, "many sagas");
    }
}

pub async fn a_saga_that_waits_for_a_retry_holds_no_permit<M: Sample>() {
    let world = World::<M>::new(None);
    let process = world.process("me");
    world.participants.break_down();
    let mut retried = Vec::new();
    for n in 0..PERMITS {
        let begun = process.begin_or_join(&format!("k{n}"), Duration::ZERO).await.unwrap();
        retried.push(begun.saga.id);
    }
    tokio::time::sleep(Duration::from_mins(1)).await;
    world.participants.repair_except(retried.clone());
    let other = process.begin_or_join("other", SHORT).await.unwrap();
    world.assert_ended(&other.saga, "beside sagas that wait for a retry");
    world.participants.repair();
    for id in retried {
        world.assert_ended(&process.end_of(id).await, "after its retry");
    }
}

/// Cancels callers after each number of polls.
pub async fn a_cancelled_caller_leaves_no_saga_or_one_that_ends<M: Sample>() {
    for refusal in once(None).chain(M::refusals().into_iter().map(Some)) {
        let mut seen = [false; 2];
        for polls in 0.. {
            let case = format!("{refusal:?}, cancelled after {polls} polls");
            let world = World::<M>::new(refusal.clone());
            let process = world.process("me");
            let is_done = {
                let mut caller = Box::pin(process.begin_or_join("k", PATIENCE));
                let mut is_done = false;
                for _ in 0..polls {
                    is_done |= poll!(caller.as_mut()).is_ready();
                    if is_done {
                        break;
                    }
                    yield_now().await;
                }
                is_done
            };
            if is_done {
                break;
            }
            let begun = world.journal.sagas().len();
            seen[begun] = true;
            tokio::time::sleep(Duration::from_mins(1)).await;
            let left = world.journal.sagas();
            for saga in &left {
                world.assert_ended(saga, &case);
            }
            let again = process.begin_or_join("k", PATIENCE).await.unwrap();
            assert_eq!(again.replayed, !left.is_empty(), "{case}");
            world.assert_ended(&again.saga, &case);
            assert_eq!(world.journal.sagas().len(), 1, "{case}");
        }
        assert_eq!(
            seen, [true; 2],
            "{refusal:?}: cancelled before and after the saga began"
        );
    }
}

pub async fn a_stopping_process_finishes_its_running_sagas<M: Sample>() {
    let world = World::<M>::new(None);
    let process = world.process("me");
    let gate = world.participants.gate(0, false);
    let running = process.start("k");
    gate.reached().await;
    gate.open();
    assert!(process.runtime.tasks.stop(Duration::from_mins(1)).await);
    world.assert_ended(&running.await.unwrap().saga, "a stopping process");
}

/// Under its own name after a restart, or under the name of another process.
pub async fn a_stopping_process_releases_a_saga_that_waits_for_a_retry<M: Sample>() {
    for next in ["me", "other"] {
        let world = World::<M>::new(None);
        let process = world.process("me");
        world.participants.break_down();
        let waiting = process.begin_or_join("k", Duration::from_secs(10)).await.unwrap();
        assert!(!waiting.saga.is_final());
        let other = world.process(next);
        if next == "other" {
            other.recover().await;
        }
        world.participants.repair();
        let began = Instant::now();
        assert!(process.runtime.tasks.stop(Duration::from_mins(1)).await);
        assert!(began.elapsed() < MOMENT, "the stop waits for no retry");
        if next == "me" {
            other.recover().await;
        }
        world.assert_ended(&other.end_of(waiting.saga.id).await, next);
        assert!(began.elapsed() < Duration::from_secs(2), "no lease has to expire");
    }
}
