//! The tables of the sagas on both engines, and sagas of version 1 in them.

mod fixture;
mod holds;
mod postgres;
mod previous_version;

use checkout::{
    domain::{CartRef, Line, ProductId, Purchase},
    saga::{CheckoutMachine, Data},
};
use fixture::{Stores, Tables};
use money::{Money, Quantity};
use saga::Saga;
use testing::{PostgresFixture, SqliteFixture};

use crate::sagas::{HOUR, data, lease, new_saga};

testing::contract! { tables_contract:
    sizes::{
        fifty_lines_with_long_names_are_read_back_unchanged,
    },
    holds::{
        a_saga_of_version_1_is_read_and_driven_on,
        the_migration_keeps_sagas_of_version_1,
        an_unfinished_checkout_without_a_hold_blocks_its_user,
        a_completed_checkout_without_a_hold_blocks_its_user_until_the_cart_changes,
        an_unfinished_checkout_is_named_before_a_completed_one,
        a_checkout_with_a_hold_or_without_pieces_blocks_nobody,
    },
}

tables_contract!(on_sqlite: SqliteFixture, on_postgres: PostgresFixture);

mod sizes {
    use super::*;

    pub(super) async fn fifty_lines_with_long_names_are_read_back_unchanged(fixture: &dyn Stores) {
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
            ..new_saga(&scope)
        };
        let Tables { journal, .. } = fixture.open().await;
        journal.begin(&saga, &key, &lease("me", HOUR)).await.unwrap();
        assert_eq!(journal.find(&scope, &key).await.unwrap(), Some(saga));
    }
}
