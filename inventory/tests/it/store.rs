//! What every adapter of `StockStore` must do.

mod cuts;
mod deliveries;
mod expiry;
mod orders;
mod places;
mod races;
mod replicas;
mod reservations;
mod starts;

use std::time::Duration;

use inventory::{
    domain::{CheckoutId, Delivery, IdempotencyKey, Lines, ProductId, Refusal, Shortage, Stock},
    ports::StockStore,
};
use money::Quantity;
use runtime::Ids;
use testing::{PostgresFixture, SqliteFixture};

pub(crate) use places::Stores;

testing::contract! { store_contract:
    deliveries::{
        a_new_store_has_the_starting_stock,
        stock_is_listed_in_order_and_up_to_a_limit,
        goods_received_count_once,
        a_key_is_not_for_two_deliveries,
        the_first_delivery_of_a_product_makes_its_record,
        sixty_four_times_the_same_delivery_count_once,
    },
    reservations::{
        what_is_reserved_is_held,
        all_lines_are_held_or_none,
        two_lines_of_one_product_count_together,
        a_product_without_a_record_has_none_available,
        a_refusal_is_given_again_even_when_stock_came_back,
        a_duplicate_gets_the_same_answer_and_other_lines_do_not,
        a_release_that_comes_first_refuses_the_late_reserve,
        confirmed_stock_never_returns,
        an_unknown_reservation_cannot_be_confirmed,
        everything_is_there_after_a_reopen,
    },
    expiry::{
        a_hold_that_ran_out_gives_its_stock_back,
        a_hold_that_has_time_left_is_kept,
        holds_run_out_in_bounded_batches,
        short_stock_takes_what_ran_out_at_once,
        an_expired_hold_is_confirmed_while_there_is_stock,
        an_expired_hold_is_lost_for_ever_once_its_stock_is_gone,
        a_hold_as_long_as_time_can_be_written,
    },
    orders::{
        all_orders_of_commands_on_a_hold_with_time_left,
        all_orders_of_commands_on_a_hold_that_ran_out,
    },
    races::{
        five_hundred_reserves_of_a_hundred_pieces_give_a_hundred,
        sixty_four_times_the_same_reserve_hold_once,
        confirm_and_release_have_one_winner,
        confirm_and_expiry_have_one_winner,
        the_ledger_adds_up_after_a_storm,
    },
    replicas::{
        two_replicas_sell_no_piece_twice,
        baskets_that_overlap_never_wait_in_a_circle,
        two_replicas_give_a_hold_back_once,
        an_expired_hold_takes_what_is_released_at_that_moment_or_not,
        a_reserve_that_races_with_its_release_holds_nothing,
        of_racing_reserves_with_other_lines_the_first_counts,
        of_racing_deliveries_under_one_key_the_first_counts,
        racing_first_deliveries_of_a_product_are_all_there,
    },
}

store_contract!(on_sqlite: SqliteFixture, on_postgres: PostgresFixture);

/// That the ledger adds up to the stock, and that what is held is what reservations hold.
async fn assert_balanced(fixture: &dyn Stores) {
    let books = fixture.books().await;
    assert!(!books.is_empty());
    for (product, on_hand, held, moved_on_hand, moved_held, live_holds) in books {
        assert_eq!((on_hand, held), (moved_on_hand, moved_held), "product {product}");
        assert_eq!(held, live_holds, "product {product}");
        assert!(0 <= held && held <= on_hand, "product {product}");
    }
}

const HOUR: Duration = Duration::from_hours(1);
/// Holds for this long have run out by the time they are seen.
const NO_TIME: Duration = Duration::ZERO;

const LAPTOP: i64 = 1;
const MOUSE: i64 = 2;
const LAPTOPS: i64 = 100;
const MICE: i64 = 500;

fn product(id: i64) -> ProductId {
    ProductId::new(id).unwrap()
}

fn new_checkout() -> CheckoutId {
    CheckoutId(Ids::random().next())
}

fn lines(lines: &[(i64, i64)]) -> Lines {
    Lines::add_up(
        lines
            .iter()
            .map(|(id, pieces)| (product(*id), Quantity::new(*pieces).unwrap())),
    )
    .unwrap()
}

fn delivery(key: &str, id: i64, pieces: i64) -> Delivery {
    let key = IdempotencyKey::new(key).unwrap();
    Delivery {
        key,
        product: product(id),
        quantity: Quantity::new(pieces).unwrap(),
    }
}

fn out_of_stock(short: &[(i64, i64, i64)]) -> Refusal {
    let shortage = |&(id, requested, available): &(i64, i64, i64)| Shortage {
        product_id: product(id),
        requested,
        available,
    };
    Refusal::OutOfStock(short.iter().map(shortage).collect())
}

/// `on_hand` and `held` of a product.
async fn stock_of(store: &dyn StockStore, id: i64) -> (i64, i64) {
    match store.stock(Some(&[product(id)]), 1).await.unwrap()[..] {
        [Stock { on_hand, held, .. }] => (on_hand, held),
        ref other => panic!("{other:?}"),
    }
}
