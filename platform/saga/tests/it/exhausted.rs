//! A call whose retries are used up.

use std::time::Duration;

use saga::{State as _, testing::participants::World};
use tokio::time::Instant;

use crate::toy::TripMachine;

#[tokio::test(start_paused = true)]
async fn a_call_is_made_as_often_as_its_schedule_says_and_the_saga_is_then_compensated() {
    let world = World::<TripMachine>::new(None);
    let process = world.process("me");
    let pays = world.participants.gate(1, false);
    let begun = process.begin_or_join("k", Duration::ZERO).await.unwrap().saga;
    pays.reached().await;
    world.participants.break_down();
    pays.open();
    let deadline = Instant::now() + Duration::from_hours(1);
    let is_cancelling = |saga: &saga::Saga<TripMachine>| saga.state.name() == "CANCELLING";
    let stuck = process.engine.wait(begun.id, deadline, is_cancelling).await;
    assert_eq!(stuck.unwrap().unwrap().state.name(), "CANCELLING");
    // One call to book, and twenty attempts to pay. The first call to cancel may have been made.
    assert!(
        (21..=22).contains(&world.participants.calls()),
        "{}",
        world.participants.calls()
    );
    world.participants.repair();
    let ended = process.end_of(begun.id).await;
    assert_eq!(ended.state.name(), "CANCELLED");
    assert_eq!(ended.state.failure().unwrap(), "the bank does not answer");
    assert_eq!(world.participants.effects(begun.id), ["Book", "Cancel"]);
}
