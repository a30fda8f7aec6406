//! What every journal does, whatever it is made of and whatever sagas it keeps.

pub mod claims;
pub mod lists;
pub mod records;
pub mod sagas;
pub mod signals;

/// One test for each case and engine, for the sagas of a machine: `journal_contract!(CheckoutMachine);`.
#[macro_export]
macro_rules! journal_contract {
    ($machine:ty) => {
        $crate::journal_contract!(@adapter on_sqlite Sqlite $machine);
        $crate::journal_contract!(@adapter on_postgres Postgres $machine);
        $crate::journal_contract!(@adapter in_memory Memory $machine);
    };
    (@adapter $module:ident $adapter:ident $machine:ty) => {
        $crate::journal_contract!(@cases $module $adapter $machine;
            sagas::a_saga_that_began_is_there_as_it_was,
            sagas::beginning_twice_with_one_key_finds_the_first,
            sagas::two_scopes_may_use_the_same_key,
            sagas::to_a_scope_the_saga_of_another_is_not_there,
            sagas::sixty_four_racing_begins_of_one_key_are_one_saga,
            sagas::sixty_four_racing_begins_of_their_own_keys_do_not_disturb_each_other,
            sagas::keys_that_two_replicas_use_at_once_are_one_saga_each,
            sagas::everything_is_there_after_a_reopen,
            records::a_record_moves_the_saga_and_its_history_on,
            records::a_record_of_an_old_version_is_a_conflict_and_writes_nothing,
            records::a_record_of_an_old_fence_is_a_conflict_and_writes_nothing,
            records::a_step_and_its_event_are_written_together_or_not_at_all,
            records::an_outcome_that_is_unknown_is_noted_until_the_next_step,
            records::sixty_four_racing_records_of_one_version_are_one,
            records::sixty_four_sagas_are_driven_at_once_by_two_replicas,
            claims::only_sagas_that_are_due_and_have_no_owner_are_claimed,
            claims::a_saga_that_is_to_be_tried_later_is_not_due_before,
            claims::a_lease_is_measured_by_the_clock_of_the_store_however_wrong_that_of_the_service_is,
            claims::a_record_extends_the_lease,
            claims::a_claim_takes_no_more_than_its_limit,
            claims::sixty_four_racing_claims_take_each_saga_once,
            claims::a_claim_and_a_record_of_one_saga_at_once_leave_it_with_one_owner,
            claims::a_lease_that_is_given_back_lets_its_saga_be_claimed_at_once,
            claims::releasing_all_leases_of_an_owner_touches_its_unfinished_sagas_alone,
            claims::a_row_that_cannot_be_read_does_not_stop_the_others,
            signals::a_saga_that_waits_has_no_owner_and_is_due_at_its_time,
            signals::a_signal_makes_a_saga_due_that_waits,
            signals::a_signal_that_comes_before_its_wait_lets_nobody_wait,
            signals::a_signal_that_is_sent_again_is_the_same_one,
            signals::a_signal_takes_no_saga_from_its_driver,
            signals::a_signal_to_one_that_has_ended_or_never_was_is_answered_so,
            signals::of_a_wait_and_a_signal_at_once_none_is_lost,
            lists::lists_come_in_pages_oldest_first,
            lists::lists_are_filtered_by_status_and_by_need_of_attention,
            lists::a_row_that_cannot_be_read_leaves_the_rest_of_the_list,
        );
    };
    (@cases $module:ident $adapter:ident $machine:ty; $($group:ident::$case:ident),* $(,)?) => {
        mod $module {
            use super::*;

            $(#[tokio::test]
            async fn $case() {
                let adapter = $crate::testing::fixture::Adapter::$adapter;
                // One whose engine is not there has said so.
                if let Some(fixture) = $crate::testing::fixture::Fixture::<$machine>::new(adapter).await {
                    $crate::testing::contract::$group::$case(fixture).await;
                }
            })*
        }
    };
}
