//! What every journal does, whatever it is made of and whatever sagas it keeps.

pub mod claims;
pub mod lists;
pub mod records;
pub mod sagas;
pub mod signals;

/// The contract of the journal on every engine, for the sagas of a machine: `journal_contract!(CheckoutMachine);`.
#[macro_export]
macro_rules! journal_contract {
    ($machine:ty) => {
        use $crate::testing::contract::{claims, lists, records, sagas, signals};

        $crate::testing::base::contract! { journal_contract_of_machine:
            sagas::{
                a_saga_that_began_is_there_as_it_was,
                beginning_twice_with_one_key_finds_the_first,
                two_scopes_may_use_the_same_key,
                to_a_scope_the_saga_of_another_is_not_there,
                sixty_four_racing_begins_of_one_key_are_one_saga,
                sixty_four_racing_begins_of_their_own_keys_do_not_disturb_each_other,
                keys_that_two_replicas_use_at_once_are_one_saga_each,
                everything_is_there_after_a_reopen,
            },
            records::{
                a_record_moves_the_saga_and_its_history_on,
                a_record_of_an_old_version_is_a_conflict_and_writes_nothing,
                a_record_of_an_old_fence_is_a_conflict_and_writes_nothing,
                a_step_and_its_event_are_written_together_or_not_at_all,
                an_outcome_that_is_unknown_is_noted_until_the_next_step,
                sixty_four_racing_records_of_one_version_are_one,
                sixty_four_sagas_are_driven_at_once_by_two_replicas,
            },
            claims::{
                only_sagas_that_are_due_and_have_no_owner_are_claimed,
                a_saga_that_is_to_be_tried_later_is_not_due_before,
                a_lease_is_measured_by_the_clock_of_the_store_however_wrong_that_of_the_service_is,
                a_record_extends_the_lease,
                a_claim_takes_no_more_than_its_limit,
                sixty_four_racing_claims_take_each_saga_once,
                a_claim_and_a_record_of_one_saga_at_once_leave_it_with_one_owner,
                a_lease_that_is_given_back_lets_its_saga_be_claimed_at_once,
                releasing_all_leases_of_an_owner_touches_its_unfinished_sagas_alone,
                a_row_that_cannot_be_read_does_not_stop_the_others,
            },
            signals::{
                a_saga_that_waits_has_no_owner_and_is_due_at_its_time,
                a_signal_makes_a_saga_due_that_waits,
                a_signal_that_comes_before_its_wait_lets_nobody_wait,
                a_signal_that_is_sent_again_is_the_same_one,
                a_signal_takes_no_saga_from_its_driver,
                a_signal_to_one_that_has_ended_or_never_was_is_answered_so,
                of_a_wait_and_a_signal_at_once_none_is_lost,
            },
            lists::{
                lists_come_in_pages_oldest_first,
                lists_are_filtered_by_status_and_by_need_of_attention,
                a_row_that_cannot_be_read_leaves_the_rest_of_the_list,
            },
        }

        journal_contract_of_machine!(
            on_sqlite: $crate::testing::fixture::InFile<$machine>,
            on_postgres: $crate::testing::fixture::InSchema<$machine>,
            in_memory: $crate::testing::fixture::InMemory<$machine>,
        );
    };
}
