//! Sagas without a driver, and drivers that have lost their saga.

use std::{iter::once, time::Duration};

use runtime::{Ids, RequestContext};
use tokio::time::Instant;

use super::{
    Sample,
    fixture::{HOUR, NO_TIME, lease, new, steps},
    participants::World,
    run::{Refusal, path},
};
use crate::{
    journal::{Begun, Claimed, Journal, Lease, Signals, memory::WriteFault},
    machine::Next,
    saga::SagaId,
};

pub fn refusals<M: Sample>() -> impl Iterator<Item = Refusal<M>> {
    once(None).chain(M::refusals().into_iter().map(Some))
}

/// Leaves a saga as a driver leaves it that dies after so many steps, with a signal if it waits there.
async fn leave<M: Sample>(world: &World<M>, key: &str, taken: usize, lease: &Lease) -> SagaId {
    let mut path = path::<M>(&world.participants.refusal);
    path.truncate(taken + 1);
    let saga = new("user-1");
    let id = saga.id;
    let Begun::Created(fence) = world.journal.begin(&saga, key, lease).await.unwrap() else {
        panic!("{key} is taken");
    };
    let claimed = Claimed { saga, fence };
    let (state, data, effects) = path.pop().unwrap();
    if taken > 0 {
        let before = path.into_iter().skip(1).map(|(state, ..)| state);
        let record = steps(before.chain(once(state.clone())));
        world.journal.record(&claimed, &record, lease).await.unwrap();
    }
    world.participants.remember(id, effects);
    if matches!(M::next(&state, &data), Next::Wait(_)) {
        for signal in M::signals() {
            world.journal.send(id, &signal).await.unwrap();
        }
    }
    id
}

/// The number of steps that a saga takes.
#[allow(clippy::ref_option, reason = "as the other functions of this suite take a refusal")]
fn steps_of<M: Sample>(refusal: &Refusal<M>) -> usize {
    path::<M>(refusal).len() - 1
}

/// The lease has expired, or its owner restarts under its own name.
pub async fn a_saga_left_in_any_state_is_resumed_at_once<M: Sample>() {
    for lease in [lease("gone", NO_TIME), lease("me", HOUR)] {
        for refusal in refusals::<M>() {
            for taken in 0..steps_of::<M>(&refusal) {
                let world = World::<M>::new(refusal.clone());
                let id = leave(&world, "k", taken, &lease).await;
                let process = world.process("me");
                let began = Instant::now();
                process.recover().await;
                let case = format!("{refusal:?} after {taken} steps of {}", lease.owner);
                world.assert_ended(&process.end_of(id).await, &case);
                assert!(began.elapsed() < Duration::from_secs(2), "{case}");
            }
        }
    }
}

pub async fn a_saga_left_in_any_state_is_resumed_when_its_lease_expires<M: Sample>() {
    let expires = Duration::from_secs(15);
    for refusal in refusals::<M>() {
        for taken in 0..steps_of::<M>(&refusal) {
            let world = World::<M>::new(refusal.clone());
            let process = world.process("me");
            process.recover().await;
            let id = leave(&world, "k", taken, &lease("gone", expires)).await;
            let began = Instant::now();
            let case = format!("{refusal:?} after {taken} steps");
            world.assert_ended(&process.end_of(id).await, &case);
            let waited = began.elapsed();
            assert!(
                waited >= expires && waited < expires + Duration::from_secs(3),
                "{case}: {waited:?}"
            );
        }
    }
}

pub async fn a_corrupt_saga_does_not_stop_the_others<M: Sample>() {
    let world = World::<M>::new(None);
    let corrupt = leave(&world, "corrupt", 0, &lease("gone", NO_TIME)).await;
    world.journal.corrupt(corrupt);
    let mut others = Vec::new();
    for taken in 0..steps_of::<M>(&None) {
        others.push(leave(&world, &format!("k{taken}"), taken, &lease("gone", NO_TIME)).await);
    }
    let process = world.process("me");
    process.recover().await;
    for id in others {
        world.assert_ended(&process.end_of(id).await, "beside a corrupt saga");
    }
}

/// A driver stalls before or after one of its calls, and goes on when another process has driven its saga to a final
/// state. The other process has the same name, or another one.
pub async fn a_driver_that_stalls_in_any_call_changes_nothing_afterwards<M: Sample>() {
    for refusal in refusals::<M>() {
        let calls = World::<M>::new(refusal.clone());
        calls.process("me").begin_or_join("k", HOUR).await.unwrap();
        for nth in 0..calls.participants.calls() {
            for (is_after_effect, owner) in [(false, "me"), (false, "other"), (true, "me"), (true, "other")] {
                let case = format!("{refusal:?}, call {nth}, after its effect: {is_after_effect}, then {owner}");
                let world = World::<M>::new(refusal.clone());
                let gate = world.participants.gate(nth, is_after_effect);
                let stalled = world.process("me").start("k");
                gate.reached().await;
                world.journal.release_all("me").await.unwrap();
                let next = world.process(owner);
                next.recover().await;
                let end = next.end_of(world.journal.sagas()[0].id).await;
                world.assert_ended(&end, &case);
                gate.open();
                assert_eq!(stalled.await.unwrap().saga, end, "{case}");
                tokio::time::sleep(Duration::from_mins(1)).await;
                assert_eq!(world.journal.sagas(), std::slice::from_ref(&end), "{case}");
                world.assert_ended(&end, &case);
            }
        }
    }
}

pub async fn a_driver_with_an_old_fence_persists_nothing<M: Sample>() {
    let world = World::<M>::new(None);
    let gate = world.participants.gate(0, true);
    let process = world.process("me");
    let running = process.start("k");
    gate.reached().await;
    world.journal.release_all("me").await.unwrap();
    let claimed = world.journal.claim_due(&lease("other", HOUR), 10).await.unwrap();
    gate.open();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let calls = world.participants.calls();
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(
        world.participants.calls(),
        calls,
        "the old driver makes no further call"
    );
    assert_eq!(world.journal.sagas(), [claimed[0].saga.clone()]);
    let next = world.process("other");
    next.recover().await;
    world.assert_ended(&next.end_of(claimed[0].saga.id).await, "an old fence");
    assert!(
        running.await.unwrap().saga.is_final(),
        "its caller gets the end from the new owner"
    );
}

pub async fn the_leases_of_an_earlier_run_are_released_although_a_write_fails<M: Sample>() {
    let world = World::<M>::new(None);
    let id = leave(&world, "k", 0, &lease("me", HOUR)).await;
    for nth in [0, 1] {
        world.journal.fail_nth_write(nth, WriteFault::Lost);
    }
    let process = world.process("me");
    let began = Instant::now();
    process.recover().await;
    world.assert_ended(&process.end_of(id).await, "after failed writes");
    assert!(began.elapsed() < Duration::from_secs(3), "no lease has to expire");
}

/// A saga is driven under the request that began it, in whichever process.
pub async fn a_resumed_saga_keeps_the_request_that_began_it<M: Sample>() {
    let world = World::<M>::new(None);
    let gate = world.participants.gate(0, false);
    let (process, context) = (world.process("me"), RequestContext::new(&Ids::random()));
    let began = context
        .clone()
        .scope(process.begin_or_join("k", NO_TIME))
        .await
        .unwrap();
    gate.reached().await;
    world.journal.release_all("me").await.unwrap();
    let next = world.process("other");
    next.recover().await;
    world.assert_ended(&next.end_of(began.saga.id).await, "resumed");
    let request_ids = world.participants.request_ids();
    assert!(request_ids.len() > 1);
    assert!(
        request_ids.iter().all(|id| id.as_deref() == Some(&context.request_id)),
        "{request_ids:?}"
    );
    assert!(
        world
            .journal
            .outbox()
            .iter()
            .all(|event| event.context.request_id == context.request_id)
    );
    gate.open();
}

/// The recovery of a process may start, or be started again after a panic, while the process drives sagas.
pub async fn recovery_leaves_the_sagas_of_its_own_process_alone<M: Sample>() {
    let world = World::<M>::new(None);
    let process = world.process("me");
    let gate = world.participants.gate(0, false);
    let running = process.start("k");
    gate.reached().await;
    let engine = process.engine.clone();
    process.runtime.tasks.spawn(async move { engine.recover().await });
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.participants.calls(), 1, "the saga has one driver");
    gate.open();
    world.assert_ended(&running.await.unwrap().saga, "beside its recovery");
}

pub async fn many_interrupted_sagas_all_end<M: Sample>() {
    const SAGAS: usize = 250;
    let world = World::<M>::new(None);
    let process = world.process("me");
    world.participants.break_down();
    let running: Vec<_> = (0..SAGAS).map(|n| process.start(&format!("k{n}"))).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(process.runtime.tasks.stop(Duration::from_mins(1)).await);
    world.participants.repair();
    world.process("me").recover().await;
    for caller in running {
        world.assert_ended(&caller.await.unwrap().saga, "one of many");
    }
    assert_eq!(world.journal.sagas().len(), SAGAS);
}
