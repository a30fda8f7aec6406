//! What is refused, and in which words.

use proto::{Reason, checkout::v1::InitiateCheckoutRequest, status};
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::shop::{Shop, paid_with, request, usd};
use crate::world::{At, Fault};

/// Makes a good request a bad one.
type Spoil = fn(&mut InitiateCheckoutRequest);

/// That the status is a refusal for this reason, which blames these fields.
pub(super) fn assert_refused(refused: &Status, reason: Reason, fields: &[&str]) {
    assert_eq!(status::reason(refused), Some(reason), "{refused:?}");
    assert_eq!(refused.code(), reason.code());
    let blamed: Vec<_> = status::fields(refused).into_iter().map(|(field, _)| field).collect();
    assert_eq!(blamed, fields);
}

pub(super) fn metadata(status: &Status, key: &str) -> Value {
    serde_json::from_str(&status::metadata(status, key).unwrap()).unwrap()
}

#[tokio::test]
async fn a_request_that_is_wrong_is_told_where() {
    let shop = Shop::open().await;
    let cases: [(Spoil, &str); 12] = [
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
    for (spoil, field) in cases {
        let mut wrong = request("k");
        spoil(&mut wrong);
        let refused = shop.initiate(wrong).await.unwrap_err();
        assert_refused(&refused, Reason::InvalidArgument, &[field]);
    }
    assert_eq!(shop.world.calls(), []);
    let longest = InitiateCheckoutRequest {
        user_id: "ü".repeat(128),
        idempotency_key: "ü".repeat(255),
        payment_method: "m".repeat(64),
        ..request("k")
    };
    shop.initiate(longest).await.unwrap();
}

#[tokio::test]
async fn where_the_provider_has_no_default_a_purchase_names_its_method() {
    let shop = Shop::without_a_default_method().await;
    let refused = shop.initiate(request("k")).await.unwrap_err();
    assert_refused(&refused, Reason::InvalidArgument, &["payment_method"]);
    assert_eq!(shop.world.calls(), []);
    shop.initiate(paid_with("k", "pm_card_ok")).await.unwrap();
}

#[tokio::test]
async fn a_missing_key_is_named_in_the_words_of_the_contract() {
    let shop = Shop::open().await;
    let refused = shop.initiate(request("")).await.unwrap_err();
    assert_refused(&refused, Reason::MissingIdempotencyKey, &["idempotency_key"]);
    assert_eq!(refused.message(), "idempotency_key is required");
}

#[tokio::test]
async fn a_cart_that_cannot_be_bought_is_refused_before_the_key_is_used() {
    let shop = Shop::open().await;
    shop.world.fill_cart(&[]);
    let refused = shop.initiate(request("k")).await.unwrap_err();
    assert_refused(&refused, Reason::CartEmpty, &[]);
    assert_eq!(refused.message(), "cart is empty");

    shop.world.fill_cart(&[(1, 2, 900), (2, 1, 250), (3, 1, 5)]);
    let refused = shop.initiate(request("k")).await.unwrap_err();
    assert_refused(&refused, Reason::ProductUnavailable, &[]);
    assert_eq!(metadata(&refused, "product_ids"), json!([3]));

    shop.world.fill_cart(&[(1, 2, 900), (2, 1, 250)]);
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
async fn a_peer_that_is_down_before_anything_began_is_said_to_be_away() {
    let shop = Shop::open().await;
    for at in [At::Cart, At::Prices] {
        shop.world.always(at, Fault::NeverArrives);
        let refused = shop.initiate(request("k")).await.unwrap_err();
        assert_refused(&refused, Reason::ServiceUnavailable, &[]);
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(
            !refused.message().contains("connection"),
            "nothing inner is told: {refused:?}"
        );
        shop.world.heal();
    }
    for at in [At::Cart, At::Prices] {
        for inner in [
            Status::internal("secret"),
            Status::invalid_argument("secret"),
            Status::not_found("secret"),
        ] {
            shop.answer_next(at, inner);
            let refused = shop.initiate(request("k")).await.unwrap_err();
            assert_refused(&refused, Reason::ServiceUnavailable, &[]);
            assert!(!refused.message().contains("secret"), "{refused:?}");
        }
    }
    assert!(!shop.initiate(request("k")).await.unwrap().replayed);
}

#[tokio::test]
async fn what_is_not_yours_is_not_there() {
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
    assert_eq!(theirs.details(), unknown.details(), "nobody learns that it exists");
    for wrong in ["", "1", "not-a-uuid", &format!("{mine}0"), "\u{0}"] {
        let refused = shop.get(&bought.user_id, wrong).await.unwrap_err();
        assert_refused(&refused, Reason::InvalidArgument, &["checkout_id"]);
    }
    for wrong in ["", &"u".repeat(129), "a\tb"] {
        let refused = shop.get(wrong, &mine).await.unwrap_err();
        assert_refused(&refused, Reason::InvalidArgument, &["user_id"]);
    }
}
