//! What every ledger of the provider does, whatever it is made of.

use std::sync::Arc;

use futures::future::join_all;
use jiff::Timestamp;
use payment::{
    domain::{DeclineReason, IdempotencyKey, Standing, Terms},
    provider::simulated::{Attempt, Booked, ChargeId, Ledger, Order, Verdict},
};
use runtime::Ids;
use testing::SqliteFixture;

use crate::{
    harness::{checkout, terms},
    places::{PostgresFixtures, Stores},
};

testing::contract! { ledger_contract:
    a_charge_again_is_counted_and_answered_as_the_first,
    the_first_verdict_stands,
    another_amount_currency_or_method_under_a_key_is_an_error,
    a_refund_gives_back_once,
    a_refund_of_a_declined_charge_gives_back_nothing,
    a_refund_before_its_charge_refuses_the_late_charge,
    while_it_is_down_attempts_are_counted_and_nothing_else,
    everything_is_there_after_a_reopen,
    sixty_four_racing_charges_are_one,
    sixty_four_racing_charges_of_two_amounts_are_one,
    of_sixty_four_racing_charges_it_is_down_for_the_first_three,
    sixty_four_racing_charges_of_their_own_keys_do_not_disturb_each_other,
    sixty_four_racing_charges_and_refunds_agree_on_who_was_first,
}

ledger_contract!(sqlite: SqliteFixture, postgres: PostgresFixtures);

/// Two processes that keep the books in one place.
async fn replicas(place: &dyn Stores) -> [Arc<dyn Ledger>; 2] {
    [place.ledger().await, place.ledger().await]
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

async fn a_charge_again_is_counted_and_answered_as_the_first(place: &dyn Stores) {
    let (ledger, key) = (place.ledger().await, key());
    assert_eq!(ledger.find(&key).await.unwrap(), None);
    for number in 1..=3 {
        assert_eq!(
            ledger.charge(order(&key)).await.unwrap(),
            stands(number, Standing::Charged)
        );
    }
    assert_eq!(ledger.find(&key).await.unwrap(), Some(Standing::Charged));
}

async fn the_first_verdict_stands(place: &dyn Stores) {
    let (ledger, key) = (place.ledger().await, key());
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

async fn another_amount_currency_or_method_under_a_key_is_an_error(place: &dyn Stores) {
    let (ledger, key) = (place.ledger().await, key());
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

async fn a_refund_gives_back_once(place: &dyn Stores) {
    let (ledger, key) = (place.ledger().await, key());
    ledger.charge(order(&key)).await.unwrap();
    for _ in 0..3 {
        assert_eq!(ledger.refund(&key, at()).await.unwrap(), Standing::Refunded);
    }
    assert_eq!(ledger.find(&key).await.unwrap(), Some(Standing::Refunded));
    assert_eq!(ledger.charge(order(&key)).await.unwrap(), stands(2, Standing::Refunded));
}

async fn a_refund_of_a_declined_charge_gives_back_nothing(place: &dyn Stores) {
    let (ledger, key) = (place.ledger().await, key());
    ledger.charge(declined(&key)).await.unwrap();
    assert_eq!(ledger.refund(&key, at()).await.unwrap(), Standing::Declined(DECLINED));
    assert_eq!(ledger.find(&key).await.unwrap(), Some(Standing::Declined(DECLINED)));
}

async fn a_refund_before_its_charge_refuses_the_late_charge(place: &dyn Stores) {
    let (ledger, key) = (place.ledger().await, key());
    for _ in 0..2 {
        assert_eq!(ledger.refund(&key, at()).await.unwrap(), Standing::Cancelled);
    }
    assert_eq!(
        ledger.charge(order(&key)).await.unwrap(),
        stands(1, Standing::Cancelled)
    );
    assert_eq!(ledger.find(&key).await.unwrap(), Some(Standing::Cancelled));
}

async fn while_it_is_down_attempts_are_counted_and_nothing_else(place: &dyn Stores) {
    let (ledger, key) = (place.ledger().await, key());
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

async fn everything_is_there_after_a_reopen(place: &dyn Stores) {
    let (charged, refused, refunded, buried) = (key(), key(), key(), key());
    let ledger = place.ledger().await;
    ledger.charge(order(&charged)).await.unwrap();
    ledger.charge(declined(&refused)).await.unwrap();
    ledger.charge(order(&refunded)).await.unwrap();
    ledger.refund(&refunded, at()).await.unwrap();
    ledger.refund(&buried, at()).await.unwrap();
    drop(ledger);
    let ledger = place.ledger().await;
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

/// The answers to sixty-four attempts at once from two replicas, in the order of their numbers.
async fn race(place: &dyn Stores, order: impl Fn(usize) -> Order) -> Vec<Booked> {
    let ledgers = replicas(place).await;
    let attempts = join_all((0..64).map(|i| ledgers[i % 2].charge(order(i)))).await;
    let mut attempts: Vec<_> = attempts.into_iter().map(|attempt| attempt.unwrap()).collect();
    attempts.sort_unstable_by_key(|attempt| attempt.number);
    let numbers: Vec<_> = attempts.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, (1..=64).collect::<Vec<_>>());
    attempts.into_iter().map(|attempt| attempt.booked).collect()
}

async fn sixty_four_racing_charges_are_one(place: &dyn Stores) {
    let key = key();
    let booked = race(place, |_| order(&key)).await;
    assert_eq!(booked, [Booked::Stands(Standing::Charged); 64]);
}

async fn sixty_four_racing_charges_of_two_amounts_are_one(place: &dyn Stores) {
    let key = key();
    let amounts = [4200, 4300].map(|amount| terms(amount, "pm_card_ok"));
    let booked = race(place, |i| {
        order_of(&key, amounts[i / 2 % 2].clone(), Verdict::Succeeded)
    })
    .await;
    assert_eq!(booked[0], Booked::Stands(Standing::Charged));
    let refused = booked.iter().filter(|booked| **booked == Booked::OtherCharge).count();
    assert_eq!(refused, 32, "{booked:?}");
}

async fn of_sixty_four_racing_charges_it_is_down_for_the_first_three(place: &dyn Stores) {
    let key = key();
    let booked = race(place, |_| Order {
        down_for: 3,
        ..order(&key)
    })
    .await;
    assert_eq!(booked[..3], [Booked::Down; 3]);
    assert_eq!(booked[3..], [Booked::Stands(Standing::Charged); 61]);
}

async fn sixty_four_racing_charges_of_their_own_keys_do_not_disturb_each_other(place: &dyn Stores) {
    let ledgers = replicas(place).await;
    let keys: Vec<_> = (0..64).map(|_| key()).collect();
    let charged = join_all(
        (0..)
            .zip(&keys)
            .map(|(i, key): (usize, _)| ledgers[i % 2].charge(order(key))),
    )
    .await;
    for attempt in charged {
        assert_eq!(attempt.unwrap(), stands(1, Standing::Charged));
    }
    let refunded = join_all(
        (0..)
            .zip(&keys)
            .map(|(i, key): (usize, _)| ledgers[i / 2 % 2].refund(key, at())),
    )
    .await;
    for standing in refunded {
        assert_eq!(standing.unwrap(), Standing::Refunded);
    }
}

async fn sixty_four_racing_charges_and_refunds_agree_on_who_was_first(place: &dyn Stores) {
    let ([ledger, other], key) = (replicas(place).await, key());
    let all = join_all((0..64).map(|i| {
        let ledger = if i % 4 < 2 { ledger.clone() } else { other.clone() };
        let key = key.clone();
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
