//! The suites that every saga must pass: its transition table; its journal on every database; each call failed,
//! repeated, or with its answer lost; and the process aborted at every crash point. For test binaries:
//! `saga::suites!(TripMachine);`.
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
pub mod participants;
pub mod recovery;
pub mod run;
pub mod table;
pub mod waiting;
pub mod writes;

use storage::Migrations;

/// For the macros of this crate.
pub use ::testing as base;

use crate::{
    machine::{Machine, State},
    saga::Signal,
};

/// Sample values of a machine for the suites.
pub trait Sample: Machine {
    /// The whole schema: sagas, history, outbox, signals.
    const SQLITE: Migrations;
    const POSTGRES: Migrations;

    /// The input of a saga. Each number gives different data.
    fn data(number: u32) -> Self::Data;
    /// The states of a saga that succeeds, from the first to the last.
    fn happy_path() -> Vec<Self::State>;
    /// All other states. The last of them is final.
    fn other_states() -> Vec<Self::State>;
    /// The calls that participants may refuse, with a failure for each. The suites run one saga per refusal.
    fn refusals() -> Vec<(Self::Call, <Self::State as State>::Failure)>;

    /// The data of a saga once it has reached this state.
    fn data_in(data: Self::Data, _state: &Self::State) -> Self::Data {
        data
    }

    /// The signals that are sent to a waiting saga.
    fn signals() -> Vec<Signal> {
        Vec::new()
    }
}

/// All suites, for the sagas of a machine.
#[macro_export]
macro_rules! suites {
    ($machine:ty) => {
        #[test]
        fn the_machine_takes_exactly_the_steps_that_it_declares() {
            $crate::testing::table::is_sound::<$machine>();
        }

        $crate::journal_contract!($machine);

        $crate::paused_cases! { $machine:
            faults::{
                faults_of_calls_do_not_change_how_a_saga_ends,
            },
            waiting::{
                a_caller_gets_the_current_state_at_its_deadline_and_the_end_later,
                a_caller_without_patience_gets_the_first_state_at_once,
                a_caller_waits_on_while_the_journal_is_unavailable,
                a_caller_sees_an_end_that_is_reached_in_another_process,
                sagas_in_progress_finish_before_new_ones_begin,
                a_saga_that_waits_for_a_retry_holds_no_permit,
                a_cancelled_caller_leaves_no_saga_or_one_that_ends,
                a_stopping_process_finishes_its_running_sagas,
                a_stopping_process_releases_a_saga_that_waits_for_a_retry,
            },
            recovery::{
                a_saga_left_in_any_state_is_resumed_at_once,
                a_saga_left_in_any_state_is_resumed_when_its_lease_expires,
                a_corrupt_saga_does_not_stop_the_others,
                a_driver_that_stalls_in_any_call_changes_nothing_afterwards,
                a_driver_with_an_old_fence_persists_nothing,
                the_leases_of_an_earlier_run_are_released_although_a_write_fails,
                a_resumed_saga_keeps_the_request_that_began_it,
                recovery_leaves_the_sagas_of_its_own_process_alone,
                many_interrupted_sagas_all_end,
            },
            writes::{
                a_begin_whose_answer_was_lost_is_found_by_its_key,
                a_driver_continues_at_once_after_a_record_whose_answer_was_lost,
                a_driver_whose_record_is_lost_stops_when_another_process_has_claimed_its_saga,
            },
        }

        #[test]
        fn a_saga_is_finished_by_the_next_process_after_an_abort_at_any_point() {
            let this = concat!(
                module_path!(),
                "::a_saga_is_finished_by_the_next_process_after_an_abort_at_any_point"
            );
            $crate::testing::crash::at_every_point::<$machine>(this);
        }
    };
}

/// A test with paused time for each case of these suites, for one machine.
#[macro_export]
macro_rules! paused_cases {
    ($machine:ty: $($suite:ident::{$($case:ident,)*},)*) => {
        $($(
            #[tokio::test(start_paused = true)]
            async fn $case() {
                $crate::testing::$suite::$case::<$machine>().await;
            }
        )*)*
    };
}
