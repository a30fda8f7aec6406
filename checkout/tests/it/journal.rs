//! The tables of the sagas on both engines, and what was left in them before carts had holds.

mod fixture;
mod holds;
mod postgres;

use checkout::saga::{CheckoutMachine, Data};
use fixture::{HOUR, Stores, Tables, data, lease, new};
use money::{Money, Quantity};
use saga::Saga;
use testing::{PostgresFixture, SqliteFixture};

use checkout::domain::{CartRef, Line, ProductId, Purchase};

testing::contract! { tables_contract:
    sizes::{
        fifty_lines_of_long_names_come_back_as_they_were,
    },
    holds::{
        a_row_of_before_is_read_and_goes_on_without_a_hold,
        what_was_stored_before_carts_had_holds_is_there_after_the_migration,
        what_may_take_pieces_that_it_does_not_hold_is_in_the_way,
        what_took_pieces_without_a_hold_is_in_the_way_until_the_cart_has_changed,
        one_that_has_not_ended_is_named_before_one_that_has,
        what_holds_its_pieces_or_takes_none_is_in_nobodys_way,
    },
}

tables_contract!(on_sqlite: SqliteFixture, on_postgres: PostgresFixture);

mod sizes {
    use super::*;

    pub(super) async fn fifty_lines_of_long_names_come_back_as_they_were(fixture: &dyn Stores) {
        let line = |product| Line {
            product: ProductId::new(product).unwrap(),
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
        let Tables { journal, .. } = fixture.open().await;
        journal.begin(&saga, &key, &lease("me", HOUR)).await.unwrap();
        assert_eq!(journal.find(&scope, &key).await.unwrap(), Some(saga));
    }
}
