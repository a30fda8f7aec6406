//! What every journal does, whatever it is made of. A new adapter is one more line at the end.

mod claims;
mod fixture;
mod holds;
mod lists;
mod postgres;
mod records;
mod sagas;

use fixture::{Fixture, MemoryFixture, PostgresFixture, SqliteFixture};

/// One test for each case and adapter.
macro_rules! journal_contract {
    ($($adapter:ident: $fixture:ty),*) => {
        $(journal_contract!(@cases $adapter $fixture;
            sagas::a_saga_that_began_is_there_as_it_was,
            sagas::beginning_twice_with_one_key_finds_the_first,
            sagas::two_users_may_use_the_same_key,
            sagas::to_a_user_the_saga_of_another_is_not_there,
            sagas::sixty_four_racing_begins_of_one_key_are_one_saga,
            sagas::sixty_four_racing_begins_of_their_own_keys_do_not_disturb_each_other,
            sagas::keys_that_two_replicas_use_at_once_are_one_saga_each,
            sagas::everything_is_there_after_a_reopen,
            sagas::fifty_lines_of_long_names_come_back_as_they_were,
            records::a_record_moves_the_saga_and_its_history_on,
            records::a_record_of_an_old_version_is_a_conflict_and_writes_nothing,
            records::a_record_of_an_old_fence_is_a_conflict_and_writes_nothing,
            records::a_step_and_its_event_are_written_together_or_not_at_all,
            records::an_outcome_that_is_unknown_is_noted_until_the_next_step,
            records::a_failure_comes_back_with_all_that_was_short,
            records::sixty_four_racing_records_of_one_version_are_one,
            records::sixty_four_sagas_are_driven_at_once_by_two_replicas,
            holds::a_hold_is_remembered_from_its_step_on,
            holds::a_row_of_before_is_read_and_goes_on_without_a_hold,
            holds::what_may_take_pieces_that_it_does_not_hold_is_waited_for,
            holds::what_took_pieces_without_a_hold_is_waited_for_until_the_cart_has_changed,
            holds::one_that_has_not_ended_is_named_before_one_that_has,
            holds::what_holds_its_pieces_or_takes_none_is_in_nobodys_way,
            claims::only_sagas_that_are_due_and_have_no_owner_are_claimed,
            claims::a_saga_that_is_to_be_tried_later_is_not_due_before,
            claims::a_lease_is_measured_by_the_clock_of_the_store_however_wrong_that_of_the_service_is,
            claims::a_record_extends_the_lease,
            claims::a_claim_takes_no_more_than_its_limit,
            claims::sixty_four_racing_claims_take_each_saga_once,
            claims::a_claim_and_a_record_of_one_saga_at_once_leave_it_with_one_owner,
            claims::a_saga_that_is_given_up_is_due_at_once,
            claims::disowning_frees_the_unfinished_sagas_of_that_owner_alone,
            claims::a_row_that_cannot_be_read_does_not_stop_the_others,
            lists::lists_come_in_pages_oldest_first,
            lists::lists_are_filtered_by_status_and_by_need_of_attention,
            lists::a_row_that_cannot_be_read_leaves_the_rest_of_the_list,
        );)*
    };
    (@cases $adapter:ident $fixture:ty; $($group:ident::$case:ident),* $(,)?) => {
        mod $adapter {
            use super::*;

            $(#[tokio::test]
            async fn $case() {
                // One whose engine is not there has said so.
                if let Some(fixture) = <$fixture>::new().await {
                    $group::$case(fixture).await;
                }
            })*
        }
    };
}

journal_contract!(on_sqlite: SqliteFixture, on_postgres: PostgresFixture, in_memory: MemoryFixture);
