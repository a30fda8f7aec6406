//! The contract of `StockStore`.

mod deliveries;
mod expiry;
mod fixtures;
mod lost_connections;
mod races;
mod replicas;
mod reservations;
mod sequences;
mod startup;

use std::time::Duration;

use inventory::{
    domain::{CheckoutId, Delivery, IdempotencyKey, Lines, ProductId, Refusal, Shortage, Stock},
    ports::StockStore,
};
use money::Quantity;
use runtime::Ids;
use testing::{PostgresFixture, SqliteFixture};

pub(crate) use fixtures::StoreFixture;

testing::contract! { store_contract:
    deliveries::{
        a_new_store_has_the_initial_stock,
        stock_is_listed_in_order_and_up_to_a_limit,
        goods_received_count_once,
        a_key_of_another_delivery_is_refused,
        the_first_delivery_of_a_product_creates_its_stock,
        sixty_four_concurrent_repetitions_of_a_delivery_count_once,
    },
    reservations::{
        reserved_stock_is_not_available,
        all_lines_are_reserved_or_none,
        two_lines_of_one_product_count_together,
        a_product_without_stock_is_a_shortage,
        a_refusal_is_repeated_even_when_stock_is_available_again,
        a_duplicate_gets_the_same_answer_and_other_lines_do_not,
        a_release_before_its_reserve_refuses_the_late_reserve,
        confirmed_stock_never_returns,
        an_unknown_reservation_cannot_be_confirmed,
        stock_and_reservations_survive_a_reopen,
    },
    expiry::{
        an_expired_reservation_returns_its_stock,
        a_reservation_that_has_not_expired_is_kept,
        reservations_expire_in_bounded_batches,
        a_reserve_that_is_short_expires_due_reservations_first,
        an_expired_reservation_is_confirmed_while_there_is_stock,
        an_expired_reservation_is_lost_for_ever_once_its_stock_is_gone,
        a_reservation_may_have_the_longest_duration,
    },
    sequences::{
        all_sequences_of_commands_on_a_reservation_that_does_not_expire,
        all_sequences_of_commands_on_a_reservation_that_expires,
    },
    races::{
        five_hundred_reserves_of_a_hundred_pieces_give_a_hundred,
        sixty_four_concurrent_repetitions_of_a_reserve_take_the_stock_once,
        confirm_and_release_have_one_winner,
        confirm_and_expiry_have_one_winner,
        the_ledger_adds_up_after_random_concurrent_calls,
    },
    replicas::{
        two_replicas_sell_no_piece_twice,
        overlapping_carts_never_deadlock,
        two_replicas_expire_a_reservation_once,
        a_confirm_that_races_with_a_release_gets_the_stock_or_expires,
        a_reserve_that_races_with_its_release_takes_nothing,
        of_racing_reserves_with_different_lines_one_counts,
        of_racing_deliveries_with_one_key_one_counts,
        racing_first_deliveries_of_a_product_all_count,
    },
}

store_contract!(on_sqlite: SqliteFixture, on_postgres: PostgresFixture);

/// Asserts that the ledger adds up to the stock, and the live reservations to the held stock.
async fn assert_balanced(fixture: &dyn StoreFixture) {
    let balances = fixture.balances().await;
    assert!(!balances.is_empty());
    for (product, on_hand, held, moved_on_hand, moved_held, live_reservations) in balances {
        assert_eq!((on_hand, held), (moved_on_hand, moved_held), "product {product}");
        assert_eq!(held, live_reservations, "product {product}");
        assert!(0 <= held && held <= on_hand, "product {product}");
    }
}

const HOUR: Duration = Duration::from_hours(1);
/// Such a reservation is due at once.
const ZERO_TTL: Duration = Duration::ZERO;

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
