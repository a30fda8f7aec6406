//! The suites that every saga runs through: its table, its journal on every engine, every call failed, repeated, its answer
//! lost, and the process aborted at every point. For test binaries only: `saga::suites!(TripMachine);`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking"
)]

pub mod contract;
pub mod crash;
pub mod faults;
pub mod fixture;
pub mod life;
pub mod table;

use storage::Migrations;

/// What all test suites have in common.
pub use ::testing as base;

use crate::{
    machine::{Machine, State},
    saga::Signal,
};

/// What the suites need to know of a machine.
pub trait Sample: Machine {
    /// The whole schema: the table, its history, the outbox, the signals.
    const SQLITE: Migrations;
    const POSTGRES: Migrations;

    /// What a saga may be begun with; another number is other data.
    fn data(number: u32) -> Self::Data;
    /// The states of a saga that ends well, from the first to the last.
    fn way() -> Vec<Self::State>;
    /// All other states, of which the last one is an end.
    fn aside() -> Vec<Self::State>;
    /// What participants may refuse, and why: a saga is played for each.
    fn refusals() -> Vec<(Self::Call, <Self::State as State>::Failure)>;

    /// What a saga has learned that has come to this state.
    fn after(data: Self::Data, _state: &Self::State) -> Self::Data {
        data
    }

    /// What the saga is told while it goes on.
    fn signals() -> Vec<Signal> {
        Vec::new()
    }
}

/// All suites, for the sagas of a machine.
#[macro_export]
macro_rules! suites {
    ($machine:ty) => {
        #[test]
        fn the_machine_takes_the_steps_that_it_says() {
            $crate::testing::table::is_sound::<$machine>();
        }

        $crate::journal_contract!($machine);

        #[tokio::test(start_paused = true)]
        async fn calls_that_fail_are_repeated_or_lose_their_answer_leave_the_end_as_it_was() {
            $crate::testing::faults::of_every_call::<$machine>().await;
        }

        #[test]
        fn a_process_that_aborts_anywhere_leaves_a_saga_that_the_next_one_ends() {
            let this = concat!(
                module_path!(),
                "::a_process_that_aborts_anywhere_leaves_a_saga_that_the_next_one_ends"
            );
            $crate::testing::crash::at_every_point::<$machine>(this);
        }
    };
}
