//! What every ledger of the provider does, whatever it is made of. A new adapter is one more line at the end.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;
use jiff::Timestamp;
use payment::{
    domain::{DeclineReason, Standing, Terms},
    provider::simulated::{Attempt, Booked, ChargeId, IdempotencyKey, Ledger, Order, SqliteLedger, Verdict},
};
use runtime::{CrashPoints, Ids};
use tempfile::TempDir;

use crate::bench::{checkout, terms};

/// A ledger that can be closed and opened again.
#[async_trait]
trait Fixture: Sized {
    async fn new() -> Self;
    fn ledger(&self) -> Arc<dyn Ledger>;
    async fn reopened(self) -> Self;
}

struct SqliteFixture {
    ledger: Arc<dyn Ledger>,
    folder: TempDir,
}

impl SqliteFixture {
    async fn on(folder: TempDir) -> Self {
        let path = folder.path().join("provider.db");
        Self {
            ledger: Arc::new(SqliteLedger::open(&path, &CrashPoints::none()).await.unwrap()),
            folder,
        }
    }
}

#[async_trait]
impl Fixture for SqliteFixture {
    async fn new() -> Self {
        Self::on(tempfile::tempdir().unwrap()).await
    }

    fn ledger(&self) -> Arc<dyn Ledger> {
        self.ledger.clone()
    }

    async fn reopened(self) -> Self {
        let Self { ledger, folder } = self;
        drop(ledger);
        Self::on(folder).await
    }
}

const DECLINED: DeclineReason = DeclineReason::CardExpired;

fn at() -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_123).unwrap()
}

fn key() -> IdempotencyKey {
    checkout().into()
}

fn order_of(key: &IdempotencyKey, terms: Terms, verdict: Verdict) -> Order {
    Order {
        key: key.clone(),
        charge_id: ChargeId(Ids::random().next()),
        terms,
        verdict,
        down_for: 0,
        at: at(),
    }
}

fn order(key: &IdempotencyKey) -> Order {
    order_of(key, terms(4200, "pm_card_ok"), Verdict::Succeeded)
}

fn declined(key: &IdempotencyKey) -> Order {
    order_of(key, terms(4200, "pm_card_expired"), Verdict::Declined(DECLINED))
}

const fn stands(number: u32, standing: Standing) -> Attempt {
    Attempt {
        number,
        booked: Booked::Stands(standing),
    }
}

async fn a_charge_again_is_counted_and_answered_as_the_first(fixture: impl Fixture) {
    let (ledger, key) = (fixture.ledger(), key());
    assert_eq!(ledger.find(&key).await.unwrap(), None);
    for number in 1..=3 {
        assert_eq!(
            ledger.charge(order(&key)).await.unwrap(),
            stands(number, Standing::Charged)
        );
    }
    assert_eq!(ledger.find(&key).await.unwrap(), Some(Standing::Charged));
}

async fn the_first_verdict_stands(fixture: impl Fixture) {
    let (ledger, key) = (fixture.ledger(), key());
    ledger.charge(declined(&key)).await.unwrap();
    let changed_its_mind = Order {
        verdict: Verdict::Succeeded,
        ..declined(&key)
    };
    assert_eq!(
        ledger.charge(changed_its_mind).await.unwrap(),
        stands(2, Standing::Declined(DECLINED))
    );
}

async fn another_amount_currency_or_method_under_a_key_is_an_error(fixture: impl Fixture) {
    let (ledger, key) = (fixture.ledger(), key());
    ledger.charge(order(&key)).await.unwrap();
    let euro = money::Money::new(4200, "EUR".parse().unwrap());
    let others = [
        terms(4201, "pm_card_ok"),
        terms(4200, "pm_card_slow"),
        Terms {
            amount: euro,
            ..terms(4200, "pm_card_ok")
        },
    ];
    for (number, other) in (2..).zip(others) {
        let attempt = ledger.charge(order_of(&key, other, Verdict::Succeeded)).await.unwrap();
        assert_eq!(
            attempt,
            Attempt {
                number,
                booked: Booked::OtherCharge
            }
        );
    }
    assert_eq!(ledger.charge(order(&key)).await.unwrap(), stands(5, Standing::Charged));
}

async fn a_refund_gives_back_once(fixture: impl Fixture) {
    let (ledger, key) = (fixture.ledger(), key());
    ledger.charge(order(&key)).await.unwrap();
    for _ in 0..3 {
        assert_eq!(ledger.refund(&key, at()).await.unwrap(), Standing::Refunded);
    }
    assert_eq!(ledger.find(&key).await.unwrap(), Some(Standing::Refunded));
    assert_eq!(ledger.charge(order(&key)).await.unwrap(), stands(2, Standing::Refunded));
}

async fn a_refund_of_a_declined_charge_gives_back_nothing(fixture: impl Fixture) {
    let (ledger, key) = (fixture.ledger(), key());
    ledger.charge(declined(&key)).await.unwrap();
    assert_eq!(ledger.refund(&key, at()).await.unwrap(), Standing::Declined(DECLINED));
    assert_eq!(ledger.find(&key).await.unwrap(), Some(Standing::Declined(DECLINED)));
}

async fn a_refund_before_its_charge_refuses_the_late_charge(fixture: impl Fixture) {
    let (ledger, key) = (fixture.ledger(), key());
    for _ in 0..2 {
        assert_eq!(ledger.refund(&key, at()).await.unwrap(), Standing::Cancelled);
    }
    assert_eq!(
        ledger.charge(order(&key)).await.unwrap(),
        stands(1, Standing::Cancelled)
    );
    assert_eq!(ledger.find(&key).await.unwrap(), Some(Standing::Cancelled));
}

async fn while_it_is_down_attempts_are_counted_and_nothing_else(fixture: impl Fixture) {
    let (ledger, key) = (fixture.ledger(), key());
    let order = || Order {
        down_for: 2,
        ..order(&key)
    };
    for number in 1..=2 {
        assert_eq!(
            ledger.charge(order()).await.unwrap(),
            Attempt {
                number,
                booked: Booked::Down
            }
        );
        assert_eq!(ledger.find(&key).await.unwrap(), None);
    }
    assert_eq!(ledger.charge(order()).await.unwrap(), stands(3, Standing::Charged));
}

async fn everything_is_there_after_a_reopen(fixture: impl Fixture) {
    let (charged, refused, refunded, buried) = (key(), key(), key(), key());
    let ledger = fixture.ledger();
    ledger.charge(order(&charged)).await.unwrap();
    ledger.charge(declined(&refused)).await.unwrap();
    ledger.charge(order(&refunded)).await.unwrap();
    ledger.refund(&refunded, at()).await.unwrap();
    ledger.refund(&buried, at()).await.unwrap();
    drop(ledger);
    let fixture = fixture.reopened().await;
    let ledger = fixture.ledger();
    for (key, standing) in [
        (&charged, Standing::Charged),
        (&refused, Standing::Declined(DECLINED)),
        (&refunded, Standing::Refunded),
        (&buried, Standing::Cancelled),
    ] {
        assert_eq!(ledger.find(key).await.unwrap(), Some(standing));
    }
    assert_eq!(
        ledger.charge(order(&charged)).await.unwrap(),
        stands(2, Standing::Charged)
    );
}

async fn sixty_four_racing_charges_are_one(fixture: impl Fixture) {
    let (ledger, key) = (fixture.ledger(), key());
    let attempts = join_all((0..64).map(|_| ledger.charge(order(&key)))).await;
    let mut numbers: Vec<_> = attempts
        .into_iter()
        .map(|attempt| attempt.unwrap())
        .inspect(|attempt| assert_eq!(attempt.booked, Booked::Stands(Standing::Charged)))
        .map(|attempt| attempt.number)
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=64).collect::<Vec<_>>());
}

async fn sixty_four_racing_charges_and_refunds_agree_on_who_was_first(fixture: impl Fixture) {
    let (ledger, key) = (fixture.ledger(), key());
    let all = join_all((0..64).map(|i| {
        let (ledger, key) = (ledger.clone(), key.clone());
        async move {
            if i % 2 == 0 {
                match ledger.charge(order(&key)).await.unwrap().booked {
                    Booked::Stands(standing) => standing,
                    other @ (Booked::Down | Booked::OtherCharge) => panic!("{other:?}"),
                }
            } else {
                ledger.refund(&key, at()).await.unwrap()
            }
        }
    }))
    .await;
    let last = ledger.find(&key).await.unwrap().unwrap();
    assert!(
        all.iter().skip(1).step_by(2).all(|standing| *standing == last),
        "{all:?}"
    );
    let cancelled = all.contains(&Standing::Cancelled);
    let moved = all.contains(&Standing::Charged) || all.contains(&Standing::Refunded);
    assert!(cancelled != moved, "{all:?}");
}

/// One test for each case and adapter.
macro_rules! ledger_contract {
    ($($adapter:ident: $fixture:ty),*) => {
        $(ledger_contract!(@cases $adapter $fixture;
            a_charge_again_is_counted_and_answered_as_the_first
            the_first_verdict_stands
            another_amount_currency_or_method_under_a_key_is_an_error
            a_refund_gives_back_once
            a_refund_of_a_declined_charge_gives_back_nothing
            a_refund_before_its_charge_refuses_the_late_charge
            while_it_is_down_attempts_are_counted_and_nothing_else
            everything_is_there_after_a_reopen
            sixty_four_racing_charges_are_one
            sixty_four_racing_charges_and_refunds_agree_on_who_was_first
        );)*
    };
    (@cases $adapter:ident $fixture:ty; $($case:ident)*) => {
        mod $adapter {
            use super::*;

            $(#[tokio::test]
            async fn $case() {
                super::$case(<$fixture>::new().await).await;
            })*
        }
    };
}

ledger_contract!(sqlite: SqliteFixture);
