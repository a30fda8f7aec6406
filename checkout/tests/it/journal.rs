//! The tables of the sagas on both engines, and what was left in them before carts had holds.

mod fixture;
mod holds;
mod postgres;

use checkout::saga::{CheckoutMachine, Data};
use fixture::{Fixture, HOUR, data, lease, new};
use money::{Money, Quantity};
use saga::{Journal, Saga};

use checkout::domain::{CartRef, Line, ProductId, Purchase};

/// One test for each case and engine.
macro_rules! cases {
    ($($group:ident::$case:ident),* $(,)?) => {
        cases!(@of on_sqlite sqlite $($group::$case,)*);
        cases!(@of on_postgres postgres $($group::$case,)*);
    };
    (@of $module:ident $engine:ident $($group:ident::$case:ident,)*) => {
        mod $module {
            use super::*;

            $(#[tokio::test]
            async fn $case() {
                // One whose engine is not there has said so.
                if let Some(fixture) = Fixture::$engine().await {
                    $group::$case(fixture).await;
                }
            })*
        }
    };
}

cases!(
    sizes::fifty_lines_of_long_names_come_back_as_they_were,
    holds::a_row_of_before_is_read_and_goes_on_without_a_hold,
    holds::what_was_stored_before_carts_had_holds_is_there_after_the_migration,
    holds::what_may_take_pieces_that_it_does_not_hold_is_in_the_way,
    holds::what_took_pieces_without_a_hold_is_in_the_way_until_the_cart_has_changed,
    holds::one_that_has_not_ended_is_named_before_one_that_has,
    holds::what_holds_its_pieces_or_takes_none_is_in_nobodys_way,
);

mod sizes {
    use super::*;

    pub(super) async fn fifty_lines_of_long_names_come_back_as_they_were(fixture: Fixture) {
        let line = |product| Line {
            product: ProductId(product),
            name: "\u{1F4BB}\\\"'".repeat(50),
            quantity: Quantity::new(99).unwrap(),
            unit_price: Money::usd(100_000_000),
        };
        let cart = CartRef {
            id: None,
            version: i64::MAX,
        };
        let (scope, key) = ("u".repeat(128), "ü".repeat(255));
        let saga: Saga<CheckoutMachine> = Saga {
            data: Data {
                purchase: Purchase::new((1..=50).map(line).collect(), cart).unwrap(),
                ..data(7)
            },
            ..new(&scope)
        };
        let journal: &dyn Journal<CheckoutMachine> = fixture.journal.as_ref();
        journal.begin(&saga, &key, &lease("me", HOUR)).await.unwrap();
        assert_eq!(journal.find(&scope, &key).await.unwrap(), Some(saga));
    }
}
