//! Purchases under conditions: the total and the cart version that the customer was shown.

use axum::http::Method;
use proto::{
    Fact, Reason,
    cart::v1::Cart,
    checkout::v1::{Checkout, CheckoutStatus},
    money::v1::Money,
    status::Refusal,
};
use serde_json::json;
use tonic::Status;

use crate::{
    checkout::{ID, PATH, checkout, completed, declined, shop},
    fakes::Fault,
    shop::{and, signed_in},
};

#[tokio::test]
async fn changed_prices_are_listed_old_and_new_with_the_new_total() {
    let shop = completed().await;
    let changes =
        r#"[{"product_id":1,"old_minor":129999,"new_minor":139990},{"product_id":2,"old_minor":5,"new_minor":0}]"#;
    let refusal = Refusal::new(Reason::PriceChanged, "prices have changed")
        .with(Fact::Changes, changes)
        .with(Fact::Total, "139990");
    shop.fakes.refuse(refusal);
    let reply = shop.json(Method::POST, PATH, r#"{"idempotency_key":"k"}"#).await;
    reply.problem(409, "conflict", "PRICE_CHANGED");
    let shown = concat!(
        r#""changes":[{"product_id":1,"old_price":1299.99,"new_price":1399.90},"#,
        r#"{"product_id":2,"old_price":0.05,"new_price":0.00}],"total":1399.90"#
    );
    assert!(reply.body.contains(shown), "{}", reply.body);
}

#[tokio::test]
async fn the_expected_total_is_read_exactly() {
    let shop = completed().await;
    for (json, minor) in [
        ("12", Some(1200)),
        ("12.5", Some(1250)),
        ("12.50", Some(1250)),
        ("0", Some(0)),
        ("0.07", Some(7)),
        ("90071992547409.93", Some(9_007_199_254_740_993)),
        ("92233720368547758.07", Some(i64::MAX)),
        ("null", None),
    ] {
        let body = format!(r#"{{"idempotency_key":"k","expected_total":{json}}}"#);
        assert_eq!(shop.json(Method::POST, PATH, &body).await.status, 201, "{json}");
        let money = minor.map(|minor_units| Money {
            currency_code: String::new(),
            minor_units,
        });
        let message = shop.fakes.call().message;
        assert!(message.contains(&format!("expected_total: {money:?}, ")), "{message}");
    }
}

#[tokio::test]
async fn an_invalid_expected_total_is_refused_by_its_field_name() {
    let shop = completed().await;
    for (json, reason) in [
        ("12.345", "INVALID_REQUEST"),
        ("1e2", "INVALID_REQUEST"),
        ("1E+2", "INVALID_REQUEST"),
        ("12.0e0", "INVALID_REQUEST"),
        (r#""12.50""#, "INVALID_REQUEST"),
        ("true", "INVALID_REQUEST"),
        ("[12]", "INVALID_REQUEST"),
        ("{}", "INVALID_REQUEST"),
        ("92233720368547758.08", "INVALID_REQUEST"),
        ("-0.01", "INVALID_ARGUMENT"),
        ("-0", "INVALID_ARGUMENT"),
        ("-12", "INVALID_ARGUMENT"),
    ] {
        let body = format!(r#"{{"idempotency_key":"k","expected_total":{json}}}"#);
        let reply = shop.json(Method::POST, PATH, &body).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.value()["reason"]),
            (400, &json!(reason)),
            "{json}"
        );
        assert_eq!(reply.error_fields(), ["expected_total"], "{json}");
    }
    for json in ["012", ".5", "12.", "NaN", "+1"] {
        let body = format!(r#"{{"idempotency_key":"k","expected_total":{json}}}"#);
        let reply = shop.json(Method::POST, PATH, &body).await;
        reply.problem(400, "invalid_request", "INVALID_REQUEST");
    }
    assert!(shop.fakes.script().calls.is_empty());
}

#[tokio::test]
async fn if_match_becomes_the_cart_version_of_a_purchase() {
    let shop = completed().await;
    let bought = |tag| {
        and(
            signed_in(Method::POST, PATH, r#"{"idempotency_key":"k"}"#),
            "if-match",
            tag,
        )
    };
    for (tag, version) in [("\"7\"", "Some(7)"), ("*", "None")] {
        assert_eq!(shop.send(bought(tag)).await.status, 201);
        let message = shop.fakes.call().message;
        assert!(message.contains(&format!("cart_version: {version}")), "{message}");
    }
    for tag in ["7", "W/\"7\"", "\"7\", \"8\"", ""] {
        let reply = shop.send(bought(tag)).await;
        reply.problem(412, "precondition_failed", "CART_VERSION_MISMATCH");
    }
    assert!(shop.fakes.script().calls.is_empty());
    let refusal = Refusal::new(Reason::CartVersionMismatch, "the cart was changed").with(Fact::Version, "8");
    shop.fakes.refuse(refusal);
    let reply = shop.send(bought("\"7\"")).await;
    reply.problem(412, "precondition_failed", "CART_VERSION_MISMATCH");
    assert_eq!(reply.header("etag"), Some("\"8\""));
}

#[tokio::test]
async fn the_answer_to_a_failed_purchase_has_the_tag_of_the_cart() {
    let shop = shop(Checkout {
        failure: Some(declined()),
        ..checkout(CheckoutStatus::Failed)
    })
    .await;
    shop.fakes.script().cart = Some(Cart {
        version: 9,
        ..Cart::default()
    });
    let reply = shop.json(Method::POST, PATH, r#"{"idempotency_key":"k"}"#).await;
    assert_eq!((reply.status.as_u16(), reply.header("etag")), (201, Some("\"9\"")));
    let calls = std::mem::take(&mut shop.fakes.script().calls);
    let asked = r#"GetCartRequest { user_id: "customer-7", fresh: true }"#;
    assert_eq!(
        calls.iter().filter(|call| call.message == asked).count(),
        1,
        "{calls:?}"
    );
}

#[tokio::test]
async fn a_failed_purchase_is_answered_without_a_tag_when_the_cart_service_is_down_or_slow() {
    for fault in [Fault::Refuse(Status::unavailable("gone")), Fault::Hang] {
        let shop = shop(Checkout {
            failure: Some(declined()),
            ..checkout(CheckoutStatus::Failed)
        })
        .await;
        shop.fakes.script().cart_fault = Some(fault);
        let reply = shop.json(Method::POST, PATH, r#"{"idempotency_key":"k"}"#).await;
        assert_eq!((reply.status.as_u16(), reply.header("etag")), (201, None));
        assert_eq!(reply.value()["status"], "FAILED");
    }
}

#[tokio::test]
async fn a_purchase_that_does_not_fail_reads_no_cart() {
    let shop = completed().await;
    let reply = shop.json(Method::POST, PATH, r#"{"idempotency_key":"k"}"#).await;
    assert_eq!(reply.header("etag"), None);
    shop.fakes.call();
}

#[tokio::test]
async fn a_cart_in_another_checkout_is_refused_with_its_location() {
    let shop = completed().await;
    let refusal = Refusal::new(Reason::CheckoutInProgress, "the cart is in another checkout");
    shop.fakes.refuse(refusal.with(Fact::CheckoutId, ID));
    let reply = shop.json(Method::POST, PATH, r#"{"idempotency_key":"k"}"#).await;
    let problem = reply.problem(409, "conflict", "CHECKOUT_IN_PROGRESS");
    assert_eq!(problem["checkout_id"], ID);
    assert_eq!(reply.header("location"), Some(format!("{PATH}/{ID}").as_str()));
}
