//! Refused requests, with reason, fields and metadata.

use proto::{Reason, checkout::v1::InitiateCheckoutRequest, status};
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::shop::{Shop, paid_with, request, usd};
use crate::fake_peers::{Fault, PeerCall};

/// Makes a valid request invalid.
type Invalidate = fn(&mut InitiateCheckoutRequest);

/// Asserts that the status has this reason and names these fields.
pub(super) fn assert_refused(refused: &Status, reason: Reason, fields: &[&str]) {
    assert_eq!(status::reason(refused), Some(reason), "{refused:?}");
    assert_eq!(refused.code(), reason.code());
    let named: Vec<_> = status::fields(refused).into_iter().map(|(field, _)| field).collect();
    assert_eq!(named, fields);
}

pub(super) fn metadata(status: &Status, key: &str) -> Value {
    serde_json::from_str(&status::metadata(status, key).unwrap()).unwrap()
}

#[tokio::test]
async fn an_invalid_request_is_refused_with_its_field() {
    let shop = Shop::open().await;
    let cases: [(Invalidate, &str); 12] = [
        (|r| r.user_id.clear(), "user_id"),
        (|r| r.user_id = "u".repeat(129), "user_id"),
        (|r| r.user_id = "a\nb".to_owned(), "user_id"),
        (|r| r.idempotency_key = "k".repeat(256), "idempotency_key"),
        (|r| r.idempotency_key = "x".repeat(200_000), "idempotency_key"),
        (|r| r.idempotency_key = "\0".to_owned(), "idempotency_key"),
        (|r| r.idempotency_key = "k\u{7f}".to_owned(), "idempotency_key"),
        (|r| r.payment_method = "Visa".to_owned(), "payment_method"),
        (|r| r.payment_method = "m".repeat(65), "payment_method"),
        (|r| r.payment_method = "pm card".to_owned(), "payment_method"),
        (|r| r.payment_method = "'; DROP TABLE x".to_owned(), "payment_method"),
        (|r| r.payment_method = "ü".to_owned(), "payment_method"),
    ];
    for (invalidate, field) in cases {
        let mut wrong = request("k");
        invalidate(&mut wrong);
        let refused = shop.initiate(wrong).await.unwrap_err();
        assert_refused(&refused, Reason::InvalidArgument, &[field]);
    }
    assert_eq!(shop.peers.calls(), []);
    let longest = InitiateCheckoutRequest {
        user_id: "ü".repeat(128),
        idempotency_key: "ü".repeat(255),
        payment_method: "m".repeat(64),
        ..request("k")
    };
    shop.initiate(longest).await.unwrap();
}

#[tokio::test]
async fn without_a_default_method_a_purchase_must_name_one() {
    let shop = Shop::without_a_default_method().await;
    let refused = shop.initiate(request("k")).await.unwrap_err();
    assert_refused(&refused, Reason::InvalidArgument, &["payment_method"]);
    assert_eq!(shop.peers.calls(), []);
    shop.initiate(paid_with("k", "pm_card_ok")).await.unwrap();
}

#[tokio::test]
async fn a_missing_key_is_refused_with_the_message_of_the_contract() {
    let shop = Shop::open().await;
    let refused = shop.initiate(request("")).await.unwrap_err();
    assert_refused(&refused, Reason::MissingIdempotencyKey, &["idempotency_key"]);
    assert_eq!(refused.message(), "idempotency_key is required");
}

#[tokio::test]
async fn a_cart_that_cannot_be_bought_is_refused_before_the_key_is_used() {
    let shop = Shop::open().await;
    shop.peers.fill_cart(&[]);
    let refused = shop.initiate(request("k")).await.unwrap_err();
    assert_refused(&refused, Reason::CartEmpty, &[]);
    assert_eq!(refused.message(), "cart is empty");

    shop.peers.fill_cart(&[(1, 2, 900), (2, 1, 250), (3, 1, 5)]);
    let refused = shop.initiate(request("k")).await.unwrap_err();
    assert_refused(&refused, Reason::ProductUnavailable, &[]);
    assert_eq!(metadata(&refused, "product_ids"), json!([3]));

    shop.peers.fill_cart(&[(1, 2, 900), (2, 1, 250)]);
    let refused = shop.initiate(request("k")).await.unwrap_err();
    assert_refused(&refused, Reason::PriceChanged, &[]);
    let changes = json!([{ "product_id": 1, "old_minor": 900, "new_minor": 1000 }]);
    assert_eq!(metadata(&refused, "changes"), changes);
    assert_eq!(metadata(&refused, "total_minor"), json!(2250));

    let accepted = InitiateCheckoutRequest {
        accept_price_changes: true,
        expected_total: Some(usd(2250)),
        ..request("k")
    };
    let bought = shop.initiate(accepted).await.unwrap();
    assert!(!bought.replayed, "the key was free");
    let refused = shop.initiate(request("k")).await.unwrap_err();
    assert_refused(&refused, Reason::IdempotencyKeyReused, &[]);
}

#[tokio::test]
async fn an_unavailable_peer_before_the_begin_is_service_unavailable() {
    let shop = Shop::open().await;
    for call in [PeerCall::GetCart, PeerCall::GetPrices] {
        shop.peers.always(call, Fault::NeverArrives);
        let refused = shop.initiate(request("k")).await.unwrap_err();
        assert_refused(&refused, Reason::ServiceUnavailable, &[]);
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(
            !refused.message().contains("connection"),
            "no internal detail: {refused:?}"
        );
        shop.peers.clear_faults();
    }
    for call in [PeerCall::GetCart, PeerCall::GetPrices] {
        for inner in [
            Status::internal("secret"),
            Status::invalid_argument("secret"),
            Status::not_found("secret"),
        ] {
            shop.answer_next(call, inner);
            let refused = shop.initiate(request("k")).await.unwrap_err();
            assert_refused(&refused, Reason::ServiceUnavailable, &[]);
            assert!(!refused.message().contains("secret"), "{refused:?}");
        }
    }
    assert!(!shop.initiate(request("k")).await.unwrap().replayed);
}

#[tokio::test]
async fn a_checkout_of_another_user_is_not_found() {
    let shop = Shop::open().await;
    let bought = shop.buy(request("k")).await;
    let mine = bought.checkout_id;
    let theirs = shop.get("user-2", &mine).await.unwrap_err();
    let unknown = shop
        .get(&bought.user_id, "0190a6f0-0000-7000-8000-000000000000")
        .await
        .unwrap_err();
    for refused in [&theirs, &unknown] {
        assert_refused(refused, Reason::CheckoutNotFound, &[]);
    }
    assert_eq!(theirs.message(), unknown.message());
    assert_eq!(
        theirs.details(),
        unknown.details(),
        "the answer does not reveal that it exists"
    );
    for wrong in ["", "1", "not-a-uuid", &format!("{mine}0"), "\u{0}"] {
        let refused = shop.get(&bought.user_id, wrong).await.unwrap_err();
        assert_refused(&refused, Reason::InvalidArgument, &["checkout_id"]);
    }
    for wrong in ["", &"u".repeat(129), "a\tb"] {
        let refused = shop.get(wrong, &mine).await.unwrap_err();
        assert_refused(&refused, Reason::InvalidArgument, &["user_id"]);
    }
}
