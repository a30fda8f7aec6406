//! The contract of the provider's ledger, over all adapters.

use std::sync::Arc;

use futures::future::join_all;
use jiff::Timestamp;
use payment::{
    domain::{
        ChargeStatus::{self, Cancelled, Charged, Declined, Refunded},
        DeclineReason, IdempotencyKey, Terms,
    },
    provider::simulated::{AttemptOutcome, AttemptResult, ChargeAttempt, ChargeId, Decision, ProviderLedger},
};
use runtime::Ids;
use testing::SqliteFixture;

use crate::{
    fixtures::{PostgresFixtures, StoreFixture},
    harness::{checkout, terms},
};

testing::contract! { ledger_contract:
    a_repeated_charge_is_counted_and_returns_the_first_status,
    the_first_decision_stands,
    another_amount_currency_or_method_under_a_key_is_a_mismatch,
    repeated_refunds_refund_once,
    a_refund_of_a_declined_charge_refunds_nothing,
    a_refund_before_its_charge_refuses_the_late_charge,
    attempts_while_the_provider_is_down_are_only_counted,
    everything_is_there_after_a_reopen,
    of_64_concurrent_charges_of_a_key_one_is_recorded,
    of_64_concurrent_charges_of_two_amounts_one_is_recorded,
    of_64_concurrent_charges_the_first_three_find_the_provider_down,
    concurrent_charges_of_64_keys_all_succeed,
    concurrent_charges_and_refunds_agree_on_which_was_first,
}

ledger_contract!(sqlite: SqliteFixture, postgres: PostgresFixtures);

/// Two processes on one fixture.
async fn replicas(fixture: &dyn StoreFixture) -> [Arc<dyn ProviderLedger>; 2] {
    [fixture.ledger().await, fixture.ledger().await]
}

const DECLINED: DeclineReason = DeclineReason::CardExpired;

fn at() -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_123).unwrap()
}

fn key() -> IdempotencyKey {
    checkout().into()
}

fn attempt_with(key: &IdempotencyKey, terms: Terms, decision: Decision) -> ChargeAttempt {
    ChargeAttempt {
        key: key.clone(),
        charge_id: ChargeId(Ids::random().next()),
        terms,
        decision,
        down_for: 0,
        at: at(),
    }
}

fn attempt(key: &IdempotencyKey) -> ChargeAttempt {
    attempt_with(key, terms(4200, "pm_card_ok"), Decision::Succeeded)
}

fn declined(key: &IdempotencyKey) -> ChargeAttempt {
    attempt_with(key, terms(4200, "pm_card_expired"), Decision::Declined(DECLINED))
}

const fn recorded(number: u32, status: ChargeStatus) -> AttemptResult {
    AttemptResult {
        number,
        outcome: AttemptOutcome::Recorded(status),
    }
}

async fn a_repeated_charge_is_counted_and_returns_the_first_status(fixture: &dyn StoreFixture) {
    let (ledger, key) = (fixture.ledger().await, key());
    assert_eq!(ledger.find(&key).await.unwrap(), None);
    for number in 1..=3 {
        assert_eq!(ledger.charge(attempt(&key)).await.unwrap(), recorded(number, Charged));
    }
    assert_eq!(ledger.find(&key).await.unwrap(), Some(Charged));
}

async fn the_first_decision_stands(fixture: &dyn StoreFixture) {
    let (ledger, key) = (fixture.ledger().await, key());
    ledger.charge(declined(&key)).await.unwrap();
    let other_decision = ChargeAttempt {
        decision: Decision::Succeeded,
        ..declined(&key)
    };
    assert_eq!(
        ledger.charge(other_decision).await.unwrap(),
        recorded(2, Declined(DECLINED))
    );
}

async fn another_amount_currency_or_method_under_a_key_is_a_mismatch(fixture: &dyn StoreFixture) {
    let (ledger, key) = (fixture.ledger().await, key());
    ledger.charge(attempt(&key)).await.unwrap();
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
        let result = ledger
            .charge(attempt_with(&key, other, Decision::Succeeded))
            .await
            .unwrap();
        assert_eq!(
            result,
            AttemptResult {
                number,
                outcome: AttemptOutcome::TermsMismatch
            }
        );
    }
    assert_eq!(ledger.charge(attempt(&key)).await.unwrap(), recorded(5, Charged));
}

async fn repeated_refunds_refund_once(fixture: &dyn StoreFixture) {
    let (ledger, key) = (fixture.ledger().await, key());
    ledger.charge(attempt(&key)).await.unwrap();
    for _ in 0..3 {
        assert_eq!(ledger.refund(&key, at()).await.unwrap(), Refunded);
    }
    assert_eq!(ledger.find(&key).await.unwrap(), Some(Refunded));
    assert_eq!(ledger.charge(attempt(&key)).await.unwrap(), recorded(2, Refunded));
}

async fn a_refund_of_a_declined_charge_refunds_nothing(fixture: &dyn StoreFixture) {
    let (ledger, key) = (fixture.ledger().await, key());
    ledger.charge(declined(&key)).await.unwrap();
    assert_eq!(ledger.refund(&key, at()).await.unwrap(), Declined(DECLINED));
    assert_eq!(ledger.find(&key).await.unwrap(), Some(Declined(DECLINED)));
}

async fn a_refund_before_its_charge_refuses_the_late_charge(fixture: &dyn StoreFixture) {
    let (ledger, key) = (fixture.ledger().await, key());
    for _ in 0..2 {
        assert_eq!(ledger.refund(&key, at()).await.unwrap(), Cancelled);
    }
    assert_eq!(ledger.charge(attempt(&key)).await.unwrap(), recorded(1, Cancelled));
    assert_eq!(ledger.find(&key).await.unwrap(), Some(Cancelled));
}

async fn attempts_while_the_provider_is_down_are_only_counted(fixture: &dyn StoreFixture) {
    let (ledger, key) = (fixture.ledger().await, key());
    let attempt = || ChargeAttempt {
        down_for: 2,
        ..attempt(&key)
    };
    for number in 1..=2 {
        assert_eq!(
            ledger.charge(attempt()).await.unwrap(),
            AttemptResult {
                number,
                outcome: AttemptOutcome::Down
            }
        );
        assert_eq!(ledger.find(&key).await.unwrap(), None);
    }
    assert_eq!(ledger.charge(attempt()).await.unwrap(), recorded(3, Charged));
}

async fn everything_is_there_after_a_reopen(fixture: &dyn StoreFixture) {
    let (charged, declined_key, refunded, cancelled) = (key(), key(), key(), key());
    let ledger = fixture.ledger().await;
    ledger.charge(attempt(&charged)).await.unwrap();
    ledger.charge(declined(&declined_key)).await.unwrap();
    ledger.charge(attempt(&refunded)).await.unwrap();
    ledger.refund(&refunded, at()).await.unwrap();
    ledger.refund(&cancelled, at()).await.unwrap();
    drop(ledger);
    let ledger = fixture.ledger().await;
    for (key, status) in [
        (&charged, Charged),
        (&declined_key, Declined(DECLINED)),
        (&refunded, Refunded),
        (&cancelled, Cancelled),
    ] {
        assert_eq!(ledger.find(key).await.unwrap(), Some(status));
    }
    assert_eq!(ledger.charge(attempt(&charged)).await.unwrap(), recorded(2, Charged));
}

/// The outcomes of 64 concurrent attempts from two replicas, in the order of their numbers.
async fn race(fixture: &dyn StoreFixture, attempt: impl Fn(usize) -> ChargeAttempt) -> Vec<AttemptOutcome> {
    let ledgers = replicas(fixture).await;
    let results = join_all((0..64).map(|i| ledgers[i % 2].charge(attempt(i)))).await;
    let mut results: Vec<_> = results.into_iter().map(|result| result.unwrap()).collect();
    results.sort_unstable_by_key(|result| result.number);
    let numbers: Vec<_> = results.iter().map(|result| result.number).collect();
    assert_eq!(numbers, (1..=64).collect::<Vec<_>>());
    results.into_iter().map(|result| result.outcome).collect()
}

async fn of_64_concurrent_charges_of_a_key_one_is_recorded(fixture: &dyn StoreFixture) {
    let key = key();
    let outcomes = race(fixture, |_| attempt(&key)).await;
    assert_eq!(outcomes, [AttemptOutcome::Recorded(Charged); 64]);
}

async fn of_64_concurrent_charges_of_two_amounts_one_is_recorded(fixture: &dyn StoreFixture) {
    let key = key();
    let amounts = [4200, 4300].map(|amount| terms(amount, "pm_card_ok"));
    let outcomes = race(fixture, |i| {
        attempt_with(&key, amounts[i / 2 % 2].clone(), Decision::Succeeded)
    })
    .await;
    assert_eq!(outcomes[0], AttemptOutcome::Recorded(Charged));
    let refused = outcomes
        .iter()
        .filter(|outcome| **outcome == AttemptOutcome::TermsMismatch)
        .count();
    assert_eq!(refused, 32, "{outcomes:?}");
}

async fn of_64_concurrent_charges_the_first_three_find_the_provider_down(fixture: &dyn StoreFixture) {
    let key = key();
    let outcomes = race(fixture, |_| ChargeAttempt {
        down_for: 3,
        ..attempt(&key)
    })
    .await;
    assert_eq!(outcomes[..3], [AttemptOutcome::Down; 3]);
    assert_eq!(outcomes[3..], [AttemptOutcome::Recorded(Charged); 61]);
}

async fn concurrent_charges_of_64_keys_all_succeed(fixture: &dyn StoreFixture) {
    let ledgers = replicas(fixture).await;
    let keys: Vec<_> = (0..64).map(|_| key()).collect();
    let charged = join_all(
        (0..)
            .zip(&keys)
            .map(|(i, key): (usize, _)| ledgers[i % 2].charge(attempt(key))),
    )
    .await;
    for result in charged {
        assert_eq!(result.unwrap(), recorded(1, Charged));
    }
    let refunded = join_all(
        (0..)
            .zip(&keys)
            .map(|(i, key): (usize, _)| ledgers[i / 2 % 2].refund(key, at())),
    )
    .await;
    for status in refunded {
        assert_eq!(status.unwrap(), Refunded);
    }
}

async fn concurrent_charges_and_refunds_agree_on_which_was_first(fixture: &dyn StoreFixture) {
    let ([ledger, other], key) = (replicas(fixture).await, key());
    let all = join_all((0..64).map(|i| {
        let ledger = if i % 4 < 2 { ledger.clone() } else { other.clone() };
        let key = key.clone();
        async move {
            if i % 2 == 0 {
                match ledger.charge(attempt(&key)).await.unwrap().outcome {
                    AttemptOutcome::Recorded(status) => status,
                    other @ (AttemptOutcome::Down | AttemptOutcome::TermsMismatch) => panic!("{other:?}"),
                }
            } else {
                ledger.refund(&key, at()).await.unwrap()
            }
        }
    }))
    .await;
    let last = ledger.find(&key).await.unwrap().unwrap();
    assert!(all.iter().skip(1).step_by(2).all(|status| *status == last), "{all:?}");
    let cancelled = all.contains(&Cancelled);
    let moved = all.contains(&Charged) || all.contains(&Refunded);
    assert!(cancelled != moved, "{all:?}");
}
