//! Idempotency keys: one purchase for each user and key, and none for what is refused before it begins.

use checkout::{
    app::initiate_checkout::InitiateError,
    domain::{ExpectedTotal, PriceChange, ProductId, Refusal, Request, Status, UserId},
};
use futures::future::join_all;
use money::Money;
use saga::{SagaId, journal::memory::WriteFault};

use crate::{
    harness::{Harness, TOTAL, paid_with, reason, request},
    world::{At, Fault},
};

#[tokio::test(start_paused = true)]
async fn the_same_key_again_is_given_the_stored_answer() {
    let harness = Harness::new();
    for (key, method) in [("good", "pm_card_ok"), ("bad", "pm_card_declined")] {
        let first = harness.buy(paid_with(key, method)).await;
        let calls = harness.world.calls();
        // Even when there is nothing in the cart any more.
        harness.world.fill_cart(&[]);
        let again = harness.initiate(paid_with(key, method)).await.unwrap();
        assert!(again.replayed);
        assert_eq!(again.checkout, first);
        assert_eq!(harness.world.calls(), calls, "nobody was asked again");
        harness.world.fill_cart(&[(1, 2, 1000), (2, 1, 250)]);
    }
    harness.assert_sound("replayed").await;
}

#[tokio::test(start_paused = true)]
async fn fifty_calls_with_one_key_are_one_purchase_with_one_answer() {
    for method in ["pm_card_ok", "pm_card_declined"] {
        let harness = Harness::new();
        let calls = (0..50).map(|_| harness.initiate(paid_with("k", method)));
        let answers: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
        let only = harness.only().await;
        assert!(answers.iter().all(|answer| answer.checkout == only));
        assert_eq!(harness.world.calls_of(At::Charge), 1);
        harness.assert_sound(method).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_belongs_to_one_user() {
    let harness = Harness::new();
    let first = harness.buy(request("k")).await;
    let other = Request {
        user: UserId::new("user-2").unwrap(),
        ..request("k")
    };
    let second = harness.buy(other.clone()).await;
    assert_ne!(first.id, second.id);
    assert!(
        harness
            .checkouts
            .engine
            .get(SagaId(first.id.0), Some(other.user.as_str()))
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        harness
            .checkouts
            .engine
            .get(SagaId(second.id.0), Some(other.user.as_str()))
            .await
            .unwrap()
            .is_some()
    );
    harness.assert_sound("two users").await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_used_for_another_request_is_refused() {
    let harness = Harness::new();
    harness.buy(request("k")).await;
    let others = [
        paid_with("k", "pm_other"),
        Request {
            accept_price_changes: true,
            ..request("k")
        },
    ];
    for other in others {
        let refused = harness.initiate(other).await.unwrap_err();
        assert!(matches!(refused, InitiateError::KeyReused), "{refused:?}");
    }
    harness.only().await;
    harness.assert_sound("reused").await;
}

/// That this request is refused, that nothing happened, and that the key is still good once the cart is.
async fn assert_key_stays_free(
    harness: &Harness,
    spoil: impl Fn(),
    repair: impl Fn(),
    refused: impl Fn(&InitiateError),
) {
    spoil();
    for _ in 0..2 {
        refused(&harness.initiate(request("k")).await.unwrap_err());
        harness.assert_untouched().await;
    }
    repair();
    assert_eq!(harness.buy(request("k")).await.status(), Status::Completed);
    harness.assert_sound("the key was free").await;
}

#[tokio::test(start_paused = true)]
async fn an_empty_cart_leaves_the_key_free() {
    let harness = Harness::new();
    let world = harness.world.clone();
    let fill = || world.fill_cart(&[(1, 1, 1000)]);
    let refused = |error: &InitiateError| assert!(matches!(error, InitiateError::Refused(Refusal::Empty)), "{error:?}");
    assert_key_stays_free(&harness, || world.fill_cart(&[]), fill, refused).await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_price_leaves_the_key_free() {
    let harness = Harness::new();
    let world = harness.world.clone();
    let change = PriceChange {
        product: ProductId::new(2).unwrap(),
        old: Money::usd(250),
        new: Money::usd(275),
    };
    let refused = |error: &InitiateError| {
        let InitiateError::Refused(Refusal::PriceChanged { changes, total }) = error else {
            panic!("{error:?}");
        };
        assert_eq!(changes, &[change]);
        assert_eq!(total.minor_units(), TOTAL + 25);
    };
    let (raise, lower) = (|| world.set_price(2, 275), || world.set_price(2, 250));
    assert_key_stays_free(&harness, raise, lower, refused).await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_price_that_is_accepted_is_the_one_that_is_charged() {
    let harness = Harness::new();
    harness.world.set_price(2, 275);
    let shown = ExpectedTotal {
        minor_units: TOTAL + 25,
        currency: None,
    };
    let checkout = harness
        .buy(Request {
            accept_price_changes: true,
            expected_total: Some(shown),
            ..request("k")
        })
        .await;
    assert_eq!(harness.world.ledger().movements(checkout.id), [TOTAL + 25]);
    harness.assert_sound("accepted").await;
}

#[tokio::test(start_paused = true)]
async fn a_product_that_is_gone_leaves_the_key_free() {
    let harness = Harness::new();
    let world = harness.world.clone();
    let refused = |error: &InitiateError| {
        let InitiateError::Refused(Refusal::Gone(products)) = error else {
            panic!("{error:?}");
        };
        assert_eq!(products, &[ProductId::new(2).unwrap()]);
    };
    assert_key_stays_free(&harness, || world.delist(2), || world.set_price(2, 250), refused).await;
}

#[tokio::test(start_paused = true)]
async fn a_cart_or_a_catalogue_that_is_down_leaves_the_key_free() {
    for at in [At::Cart, At::Prices] {
        for fault in [Fault::NeverArrives, Fault::AnswerLost] {
            let harness = Harness::new();
            let world = harness.world.clone();
            let refused = |error: &InitiateError| assert!(matches!(error, InitiateError::Peer(_)), "{error:?}");
            assert_key_stays_free(&harness, || world.always(at, fault), || world.heal(), refused).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_total_that_cannot_be_computed_leaves_the_key_free() {
    let harness = Harness::new();
    let world = harness.world.clone();
    let spoil = || {
        world.set_price(1, i64::MAX);
        world.fill_cart(&[(1, 2, i64::MAX)]);
    };
    let repair = || {
        world.set_price(1, 1000);
        world.fill_cart(&[(1, 2, 1000)]);
    };
    let refused = |error: &InitiateError| {
        assert!(matches!(error, InitiateError::Refused(Refusal::Total(_))), "{error:?}");
    };
    assert_key_stays_free(&harness, spoil, repair, refused).await;
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_cannot_be_written_leaves_the_key_free() {
    let harness = Harness::new();
    harness.journal.fail_nth_write(0, WriteFault::Lost);
    let error = harness.initiate(request("k")).await.unwrap_err();
    assert!(matches!(error, InitiateError::Store(_)), "{error:?}");
    harness.assert_untouched().await;
    harness.buy(request("k")).await;
    harness.assert_sound("written later").await;
}

/// The second of two clicks finds no key, and then a cart that the first has emptied: it is not told of an empty cart.
#[tokio::test(start_paused = true)]
async fn a_double_click_is_answered_alike_even_when_the_first_has_emptied_the_cart() {
    for method in ["pm_card_ok", "pm_card_declined"] {
        let harness = Harness::new();
        let gate = harness.world.gate_before(At::Cart);
        let second = harness.start_to_buy(paid_with("k", method));
        gate.reached().await;
        let first = harness.buy(paid_with("k", method)).await;
        harness.world.fill_cart(&[]);
        gate.open();
        let second = second.await.unwrap().unwrap();
        assert!(second.replayed);
        assert_eq!(second.checkout, first);
        harness.assert_sound(method).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_purchase_stays_failed_and_a_new_key_buys() {
    let harness = Harness::new();
    let failed = harness.buy(paid_with("first", "pm_card_declined")).await;
    assert_eq!(reason(&failed), "CARD_DECLINED");
    let by_the_same = Request {
        user: failed.user.clone(),
        ..request("second")
    };
    assert_eq!(harness.buy(by_the_same).await.status(), Status::Completed);
    let again = harness.initiate(paid_with("first", "pm_card_declined")).await.unwrap();
    assert_eq!(again.checkout, failed);
    harness.assert_sound("new key").await;
}

/// A request of the same customer as that of the key `k`.
fn another(key: &str) -> Request {
    Request {
        user: request("k").user,
        ..request(key)
    }
}

#[tokio::test(start_paused = true)]
async fn twenty_keys_for_one_cart_are_one_purchase() {
    let harness = Harness::new();
    // All of them have read the cart before one holds its pieces.
    let gate = harness.world.gate_before(At::Hold);
    let buying: Vec<_> = (0..20)
        .map(|n| harness.start_to_buy(another(&format!("k{n}"))))
        .collect();
    gate.reached().await;
    gate.open();
    let mut completed = 0;
    for buying in buying {
        let ended = buying.await.unwrap();
        match ended.map(|initiated| initiated.checkout) {
            Ok(checkout) if checkout.status() == Status::Completed => completed += 1,
            Ok(checkout) => assert_eq!(reason(&checkout), "CART_CHANGED"),
            Err(error) => assert!(matches!(error, InitiateError::InProgress(_)), "{error:?}"),
        }
    }
    assert_eq!(completed, 1);
    assert_eq!(harness.world.calls_of(At::Charge), 1);
    harness.assert_sound("one cart").await;
}

#[tokio::test(start_paused = true)]
async fn what_was_added_while_a_checkout_runs_is_a_purchase_of_its_own() {
    let harness = Harness::new();
    let gate = harness.world.gate_before(At::Charge);
    let buying = harness.start_to_buy(request("k"));
    gate.reached().await;
    harness.world.fill_cart(&[(2, 3, 250)]);
    let second = harness.buy(another("k2")).await;
    assert_eq!(second.purchase.total, Money::usd(750));
    gate.open();
    let first = buying.await.unwrap().unwrap().checkout;
    assert_eq!(
        (first.status(), second.status()),
        (Status::Completed, Status::Completed)
    );
    harness.assert_sound("two at once").await;
}
