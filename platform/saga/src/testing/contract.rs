//! The contract of a journal, for any database and any machine.

pub mod claims;
pub mod lists;
pub mod records;
pub mod sagas;
pub mod signals;

/// Runs the contract on every database, for one machine: `journal_contract!(CheckoutMachine);`.
#[macro_export]
macro_rules! journal_contract {
    ($machine:ty) => {
        use $crate::testing::contract::{claims, lists, records, sagas, signals};

        $crate::testing::base::contract! { journal_contract_of_machine:
            sagas::{
                a_begun_saga_is_read_back_unchanged,
                a_second_begin_with_the_same_key_returns_the_first_saga,
                two_scopes_may_use_the_same_key,
                a_saga_is_hidden_from_other_scopes,
                sixty_four_concurrent_begins_with_one_key_store_one_saga,
                sixty_four_concurrent_begins_with_different_keys_all_succeed,
                two_replicas_that_begin_with_one_key_store_one_saga,
                sagas_events_and_leases_survive_a_reopen,
            },
            records::{
                a_record_updates_the_saga_and_appends_to_its_history,
                every_state_is_read_back_unchanged,
                a_record_with_an_old_version_conflicts_and_writes_nothing,
                a_record_with_an_old_fence_conflicts_and_writes_nothing,
                a_step_and_its_event_commit_together_or_not_at_all,
                attempts_are_counted_until_the_next_step,
                of_sixty_four_concurrent_records_one_is_committed,
                two_replicas_drive_sixty_four_sagas_at_once,
            },
            claims::{
                only_due_sagas_without_a_live_lease_are_claimed,
                sagas_of_a_later_version_are_not_claimed,
                a_saga_is_not_due_before_its_retry,
                leases_expire_by_the_clock_of_the_store_not_of_the_service,
                a_record_extends_the_lease,
                a_claim_takes_no_more_than_its_limit,
                sixty_four_concurrent_claims_take_each_saga_once,
                a_concurrent_claim_and_record_leave_one_owner,
                a_saga_with_a_released_lease_is_claimed_at_once,
                releasing_the_leases_of_an_owner_affects_only_its_unfinished_sagas,
                a_corrupt_row_does_not_stop_claims_of_other_sagas,
            },
            signals::{
                a_waiting_saga_has_no_owner_and_is_due_at_its_time,
                a_signal_makes_a_waiting_saga_due,
                a_saga_with_an_unread_signal_cannot_wait,
                a_repeated_signal_is_ignored,
                a_signal_does_not_take_the_saga_from_its_driver,
                a_signal_to_a_final_or_unknown_saga_is_refused,
                a_concurrent_wait_and_signal_lose_no_signal,
            },
            lists::{
                lists_are_paged_oldest_first,
                lists_are_filtered_by_status_and_attention,
                a_corrupt_row_is_left_out_of_lists,
            },
        }

        journal_contract_of_machine!(
            on_sqlite: $crate::testing::fixture::SqliteJournals<$machine>,
            on_postgres: $crate::testing::fixture::PostgresJournals<$machine>,
            in_memory: $crate::testing::fixture::MemoryJournals<$machine>,
        );
    };
}
