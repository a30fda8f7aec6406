//! Idempotency keys: one purchase per user and key. A refusal before the begin leaves the key free.

use checkout::{
    app::initiate_checkout::InitiateError,
    domain::{CartRefusal, CheckoutRequest, ExpectedTotal, PriceChange, ProductId, Status, UserId},
};
use futures::future::join_all;
use money::Money;
use saga::{SagaId, journal::memory::WriteFault};

use crate::{
    fake_peers::{Fault, PeerCall},
    harness::{Harness, TOTAL, by_same_customer, paid_with, reason, request},
};

#[tokio::test(start_paused = true)]
async fn a_repeated_key_gets_the_stored_answer() {
    let harness = Harness::new();
    for (key, method) in [("good", "pm_card_ok"), ("bad", "pm_card_declined")] {
        let first = harness.buy(paid_with(key, method)).await;
        let calls = harness.peers.calls();
        // Also when the cart is empty by now.
        harness.peers.fill_cart(&[]);
        let again = harness.initiate(paid_with(key, method)).await.unwrap();
        assert!(again.replayed);
        assert_eq!(again.checkout, first);
        assert_eq!(harness.peers.calls(), calls, "no further call");
        harness.peers.fill_cart(&[(1, 2, 1000), (2, 1, 250)]);
    }
    harness.assert_consistent("replayed").await;
}

#[tokio::test(start_paused = true)]
async fn fifty_requests_with_one_key_are_one_purchase_with_one_answer() {
    for method in ["pm_card_ok", "pm_card_declined"] {
        let harness = Harness::new();
        let calls = (0..50).map(|_| harness.initiate(paid_with("k", method)));
        let answers: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
        let only = harness.only_checkout().await;
        assert!(answers.iter().all(|answer| answer.checkout == only));
        assert_eq!(harness.peers.calls_of(PeerCall::Charge), 1);
        harness.assert_consistent(method).await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_users_may_use_the_same_key() {
    let harness = Harness::new();
    let first = harness.buy(request("k")).await;
    let other = CheckoutRequest {
        user: UserId::new("user-2").unwrap(),
        ..request("k")
    };
    let second = harness.buy(other.clone()).await;
    assert_ne!(first.id, second.id);
    for (id, is_found) in [(first.id, false), (second.id, true)] {
        let found = harness
            .checkouts
            .engine
            .get(SagaId(id.0), Some(other.user.as_str()))
            .await;
        assert_eq!(found.unwrap().is_some(), is_found);
    }
    harness.assert_consistent("two users").await;
}

#[tokio::test(start_paused = true)]
async fn a_key_of_another_request_is_refused() {
    let harness = Harness::new();
    harness.buy(request("k")).await;
    let others = [
        paid_with("k", "pm_other"),
        CheckoutRequest {
            accept_price_changes: true,
            ..request("k")
        },
    ];
    for other in others {
        let refused = harness.initiate(other).await.unwrap_err();
        assert!(matches!(refused, InitiateError::KeyReused), "{refused:?}");
    }
    harness.only_checkout().await;
    harness.assert_consistent("reused").await;
}

/// Asserts that the request is refused after `break_it` without any effect, and that its key buys after `repair`.
async fn assert_key_stays_free(
    harness: &Harness,
    break_it: impl Fn(),
    repair: impl Fn(),
    refused: impl Fn(&InitiateError),
) {
    break_it();
    for _ in 0..2 {
        refused(&harness.initiate(request("k")).await.unwrap_err());
        harness.assert_nothing_begun().await;
    }
    repair();
    assert_eq!(harness.buy(request("k")).await.status(), Status::Completed);
    harness.assert_consistent("the key was free").await;
}

#[tokio::test(start_paused = true)]
async fn an_empty_cart_leaves_the_key_free() {
    let harness = Harness::new();
    let peers = harness.peers.clone();
    let fill = || peers.fill_cart(&[(1, 1, 1000)]);
    let refused =
        |error: &InitiateError| assert!(matches!(error, InitiateError::Refused(CartRefusal::Empty)), "{error:?}");
    assert_key_stays_free(&harness, || peers.fill_cart(&[]), fill, refused).await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_price_leaves_the_key_free() {
    let harness = Harness::new();
    let peers = harness.peers.clone();
    let change = PriceChange {
        product: ProductId::new(2).unwrap(),
        old: Money::usd(250),
        new: Money::usd(275),
    };
    let refused = |error: &InitiateError| {
        let InitiateError::Refused(CartRefusal::PriceChanged { changes, total }) = error else {
            panic!("{error:?}");
        };
        assert_eq!(changes, &[change]);
        assert_eq!(total.minor_units(), TOTAL + 25);
    };
    let (raise, lower) = (|| peers.set_price(2, 275), || peers.set_price(2, 250));
    assert_key_stays_free(&harness, raise, lower, refused).await;
}

#[tokio::test(start_paused = true)]
async fn an_accepted_price_change_is_charged() {
    let harness = Harness::new();
    harness.peers.set_price(2, 275);
    let shown = ExpectedTotal {
        minor_units: TOTAL + 25,
        currency: None,
    };
    let checkout = harness
        .buy(CheckoutRequest {
            accept_price_changes: true,
            expected_total: Some(shown),
            ..request("k")
        })
        .await;
    assert_eq!(harness.peers.ledger().movements(checkout.id), [TOTAL + 25]);
    harness.assert_consistent("accepted").await;
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_product_leaves_the_key_free() {
    let harness = Harness::new();
    let peers = harness.peers.clone();
    let refused = |error: &InitiateError| {
        let InitiateError::Refused(CartRefusal::ProductsUnavailable(products)) = error else {
            panic!("{error:?}");
        };
        assert_eq!(products, &[ProductId::new(2).unwrap()]);
    };
    assert_key_stays_free(&harness, || peers.delist(2), || peers.set_price(2, 250), refused).await;
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_cart_or_product_service_leaves_the_key_free() {
    for call in [PeerCall::GetCart, PeerCall::GetPrices] {
        for fault in [Fault::NeverArrives, Fault::AnswerLost] {
            let harness = Harness::new();
            let peers = harness.peers.clone();
            let refused = |error: &InitiateError| assert!(matches!(error, InitiateError::Peer(_)), "{error:?}");
            assert_key_stays_free(&harness, || peers.always(call, fault), || peers.clear_faults(), refused).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_total_out_of_range_leaves_the_key_free() {
    let harness = Harness::new();
    let peers = harness.peers.clone();
    let break_it = || {
        peers.set_price(1, i64::MAX);
        peers.fill_cart(&[(1, 2, i64::MAX)]);
    };
    let repair = || {
        peers.set_price(1, 1000);
        peers.fill_cart(&[(1, 2, 1000)]);
    };
    let refused = |error: &InitiateError| {
        assert!(
            matches!(error, InitiateError::Refused(CartRefusal::InvalidTotal(_))),
            "{error:?}"
        );
    };
    assert_key_stays_free(&harness, break_it, repair, refused).await;
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_cannot_be_written_leaves_the_key_free() {
    let harness = Harness::new();
    harness.journal.fail_nth_write(0, WriteFault::Lost);
    let error = harness.initiate(request("k")).await.unwrap_err();
    assert!(matches!(error, InitiateError::Store(_)), "{error:?}");
    harness.assert_nothing_begun().await;
    harness.buy(request("k")).await;
    harness.assert_consistent("written later").await;
}

/// The second request finds no saga of its key, then an empty cart, and still gets the first one's checkout.
#[tokio::test(start_paused = true)]
async fn a_double_click_gets_one_answer_even_if_the_first_request_emptied_the_cart() {
    for method in ["pm_card_ok", "pm_card_declined"] {
        let harness = Harness::new();
        let pause = harness.peers.pause_before(PeerCall::GetCart);
        let second = harness.spawn_purchase(paid_with("k", method));
        pause.reached().await;
        let first = harness.buy(paid_with("k", method)).await;
        harness.peers.fill_cart(&[]);
        pause.resume();
        let second = second.await.unwrap().unwrap();
        assert!(second.replayed);
        assert_eq!(second.checkout, first);
        harness.assert_consistent(method).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_key_stays_failed_and_a_new_key_buys() {
    let harness = Harness::new();
    let failed = harness.buy(paid_with("first", "pm_card_declined")).await;
    assert_eq!(reason(&failed), "CARD_DECLINED");
    let second = CheckoutRequest {
        user: failed.user.clone(),
        ..request("second")
    };
    assert_eq!(harness.buy(second).await.status(), Status::Completed);
    let again = harness.initiate(paid_with("first", "pm_card_declined")).await.unwrap();
    assert_eq!(again.checkout, failed);
    harness.assert_consistent("new key").await;
}

#[tokio::test(start_paused = true)]
async fn twenty_keys_for_one_cart_are_one_purchase() {
    let harness = Harness::new();
    // All requests read the cart before the first Hold.
    let pause = harness.peers.pause_before(PeerCall::Hold);
    let buying: Vec<_> = (0..20)
        .map(|n| harness.spawn_purchase(by_same_customer(&format!("k{n}"))))
        .collect();
    pause.reached().await;
    pause.resume();
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
    assert_eq!(harness.peers.calls_of(PeerCall::Charge), 1);
    harness.assert_consistent("one cart").await;
}

#[tokio::test(start_paused = true)]
async fn pieces_added_during_a_checkout_can_be_bought_by_another_checkout() {
    let harness = Harness::new();
    let pause = harness.peers.pause_before(PeerCall::Charge);
    let buying = harness.spawn_purchase(request("k"));
    pause.reached().await;
    harness.peers.fill_cart(&[(2, 3, 250)]);
    let second = harness.buy(by_same_customer("k2")).await;
    assert_eq!(second.purchase.total, Money::usd(750));
    pause.resume();
    let first = buying.await.unwrap().unwrap().checkout;
    assert_eq!(
        (first.status(), second.status()),
        (Status::Completed, Status::Completed)
    );
    harness.assert_consistent("two at once").await;
}
