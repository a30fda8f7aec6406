use std::time::Duration;

use axum::{body::Body, http::Method};
use proto::{
    Reason,
    checkout::v1::{Checkout, CheckoutItem, CheckoutStatus, Failure, HistoryEntry, Shortage},
    status::Refusal,
};
use serde_json::json;

use crate::{
    fakes::{Fault, then, usd},
    shop::{Setup, Shop, USER, and, anonymous, bearer, signed_in},
};

pub(crate) const PATH: &str = "/api/v1/checkout";
pub(crate) const ID: &str = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";

pub(crate) fn checkout(status: CheckoutStatus) -> Checkout {
    let item = CheckoutItem {
        product_id: 1,
        product_name: "Laptop".to_owned(),
        quantity: 2,
        unit_price: usd(129_999),
        subtotal: usd(259_998),
    };
    Checkout {
        checkout_id: ID.to_owned(),
        user_id: USER.to_owned(),
        status: status.into(),
        order_id: "order-1".to_owned(),
        items: vec![item],
        total_amount: usd(259_998),
        payment_id: "pay-1".to_owned(),
        failure: None,
        created_at: then(),
        updated_at: then(),
        needs_attention: true,
        history: Vec::new(),
    }
}

pub(crate) async fn shop(checkout: Checkout) -> Shop {
    let shop = Shop::open().await;
    shop.fakes.script().checkout = Some(checkout);
    shop
}

pub(crate) async fn completed() -> Shop {
    shop(checkout(CheckoutStatus::Completed)).await
}

const COMPLETED: &str = concat!(
    r#"{"checkout_id":"0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b","status":"COMPLETED","order_id":"order-1","#,
    r#""items":[{"product_id":1,"product_name":"Laptop","quantity":2,"unit_price":1299.99,"subtotal":2599.98}],"#,
    r#""total_amount":2599.98,"currency":"USD","payment_id":"pay-1","failure":null,"#,
    r#""created_at":"2026-01-02T03:04:05.000Z","updated_at":"2026-01-02T03:04:05.000Z"}"#
);

#[tokio::test]
async fn a_completed_purchase_is_201_created() {
    let shop = completed().await;
    let body = r#"{"idempotency_key":"k","payment_method":"pm_card_ok","accept_price_changes":true}"#;
    let reply = shop.json(Method::POST, PATH, body).await;
    assert_eq!((reply.status.as_u16(), reply.body.as_str()), (201, COMPLETED));
    assert_eq!(reply.header("location"), Some(format!("{PATH}/{ID}").as_str()));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(
        (reply.header("retry-after"), reply.header("idempotent-replayed")),
        (None, None)
    );
    let call = shop.fakes.call();
    let message = concat!(
        r#"InitiateCheckoutRequest { user_id: "customer-7", idempotency_key: "k", payment_method: "pm_card_ok", "#,
        "accept_price_changes: true, expected_total: None, cart_version: None }"
    );
    assert_eq!(call.message, message);
}

#[tokio::test]
async fn the_call_has_five_seconds_more_than_the_checkout_waits() {
    let shop = Shop::with(Setup {
        checkout_timeout: Duration::from_secs(40),
        ..Setup::default()
    })
    .await;
    shop.fakes.script().checkout = Some(checkout(CheckoutStatus::Completed));
    shop.json(Method::POST, PATH, r#"{"idempotency_key":"k"}"#).await;
    let call = shop.fakes.call();
    assert_eq!(call.metadata.get("grpc-timeout").unwrap(), "45000000u");
}

#[tokio::test]
async fn a_purchase_may_take_longer_than_other_requests() {
    let request_timeout = Duration::from_millis(30);
    let setup = Setup {
        request_timeout,
        checkout_timeout: Duration::from_secs(5),
        ..Setup::default()
    };
    let shop = Shop::with(setup).await;
    shop.fakes.script().checkout = Some(checkout(CheckoutStatus::Completed));
    let answer = std::sync::Arc::new(tokio::sync::Notify::new());
    shop.fakes.script().fault = Some(Fault::Wait(answer.clone()));
    let purchase = shop.json(Method::POST, PATH, r#"{"idempotency_key":"k"}"#);
    let meanwhile = async {
        shop.fakes.entered().await;
        // Meanwhile another request that is as slow times out.
        shop.get("/api/v1/cart").await.problem(504, "timeout", "TIMEOUT");
        answer.notify_waiters();
    };
    assert_eq!(tokio::join!(purchase, meanwhile).0.status, 201);
}

#[tokio::test]
async fn a_replayed_answer_has_the_replay_header() {
    let shop = shop(Checkout {
        failure: Some(declined()),
        ..checkout(CheckoutStatus::Failed)
    })
    .await;
    shop.fakes.script().replayed = true;
    let reply = shop.json(Method::POST, PATH, r#"{"idempotency_key":"k"}"#).await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("idempotent-replayed")),
        (201, Some("true"))
    );
}

#[tokio::test]
async fn a_running_purchase_is_202_accepted() {
    let running = [
        (CheckoutStatus::Initiated, "INITIATED"),
        (CheckoutStatus::InventoryReserved, "INVENTORY_RESERVED"),
        (CheckoutStatus::PaymentPending, "PAYMENT_PENDING"),
        (CheckoutStatus::PaymentCompleted, "PAYMENT_COMPLETED"),
    ];
    for (status, name) in running {
        let shop = shop(Checkout {
            payment_id: String::new(),
            ..checkout(status)
        })
        .await;
        let reply = shop.json(Method::POST, PATH, r#"{"idempotency_key":"k"}"#).await;
        assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (202, Some("1")));
        assert_eq!(reply.header("location"), Some(format!("{PATH}/{ID}").as_str()));
        let body = reply.value();
        assert_eq!((&body["status"], &body["payment_id"]), (&json!(name), &json!(null)));
    }
}

pub(crate) fn declined() -> Failure {
    Failure {
        reason: "CARD_DECLINED".to_owned(),
        message: "the card was declined".to_owned(),
        items: Vec::new(),
    }
}

#[tokio::test]
async fn a_declined_purchase_is_201_with_its_failure() {
    let shop = shop(Checkout {
        failure: Some(declined()),
        ..checkout(CheckoutStatus::Failed)
    })
    .await;
    let reply = shop.json(Method::POST, PATH, r#"{"idempotency_key":"k"}"#).await;
    assert_eq!(reply.status, 201);
    let failure = json!({"reason": "CARD_DECLINED", "message": "the card was declined"});
    assert_eq!(
        (&reply.value()["status"], &reply.value()["failure"]),
        (&json!("FAILED"), &failure)
    );
}

#[tokio::test]
async fn missing_stock_is_listed() {
    let items = vec![Shortage {
        product_id: 1,
        requested: 3,
        available: 2,
    }];
    let failure = Failure {
        reason: "OUT_OF_STOCK".to_owned(),
        message: "out of stock".to_owned(),
        items,
    };
    let shop = shop(Checkout {
        failure: Some(failure),
        ..checkout(CheckoutStatus::Failed)
    })
    .await;
    let reply = shop.json(Method::POST, PATH, r#"{"idempotency_key":"k"}"#).await;
    let items = json!([{"product_id": 1, "requested": 3, "available": 2}]);
    assert_eq!(
        reply.value()["failure"],
        json!({"reason": "OUT_OF_STOCK", "message": "out of stock", "items": items})
    );
}

#[tokio::test]
async fn the_key_in_the_header_wins_over_the_body() {
    let shop = completed().await;
    let key = async |header: Option<&str>, body: &str| {
        let request = signed_in(Method::POST, PATH, body.to_owned());
        let request = header
            .into_iter()
            .fold(request, |request, key| and(request, "idempotency-key", key));
        assert_eq!(shop.send(request).await.status, 201);
        shop.fakes.call().message
    };
    let body = r#"{"idempotency_key":"of the body"}"#;
    assert!(key(Some("of the header"), body).await.contains("\"of the header\""));
    assert!(key(None, body).await.contains("\"of the body\""));
    assert!(key(Some(""), body).await.contains("\"of the body\""));
    assert!(key(Some("clé"), "{}").await.contains("\"clé\""));
    assert!(
        key(Some("alone"), "")
            .await
            .contains(r#"idempotency_key: "alone", payment_method: "", accept"#)
    );
    assert!(key(Some(&"k".repeat(255)), "").await.contains(&"k".repeat(255)));
}

#[tokio::test]
async fn an_empty_body_needs_no_content_type() {
    let shop = completed().await;
    let request = and(anonymous(Method::POST, PATH, ""), "authorization", bearer());
    let request = and(
        and(request, "idempotency-key", "k"),
        "content-type",
        "application/x-www-form-urlencoded",
    );
    assert_eq!(shop.send(request).await.status, 201);
    // Nor does an empty body of unknown length.
    let nothing = futures::stream::empty::<Result<Vec<u8>, std::io::Error>>();
    let request = anonymous(Method::POST, PATH, Body::from_stream(nothing));
    let request = and(and(request, "authorization", bearer()), "idempotency-key", "k");
    assert_eq!(shop.send(request).await.status, 201);
}

#[tokio::test]
async fn a_purchase_needs_a_key() {
    let shop = completed().await;
    for body in [
        "",
        "{}",
        r#"{"idempotency_key":""}"#,
        r#"{"payment_method":"pm_card_ok"}"#,
    ] {
        for empty_header in [false, true] {
            let mut request = signed_in(Method::POST, PATH, body);
            if empty_header {
                request = and(request, "idempotency-key", "");
            }
            let reply = shop.send(request).await;
            let problem = reply.problem(400, "missing_idempotency_key", "MISSING_IDEMPOTENCY_KEY");
            assert_eq!(problem["detail"], "idempotency_key is required");
        }
    }
    assert!(shop.fakes.script().calls.is_empty());
}

#[tokio::test]
async fn a_key_is_printable_and_not_too_long() {
    let shop = completed().await;
    let long = "k".repeat(256);
    for body in [
        json!({"idempotency_key": long}),
        json!({"idempotency_key": "a\u{0}b"}),
        json!({"idempotency_key": "a\nb"}),
    ] {
        let reply = shop.json(Method::POST, PATH, &body.to_string()).await;
        reply.problem(400, "invalid_argument", "INVALID_ARGUMENT");
        assert_eq!(reply.error_fields(), ["idempotency_key"]);
    }
    for key in [long.as_bytes(), b"a\tb", b"\xff"] {
        let reply = shop
            .send(and(signed_in(Method::POST, PATH, ""), "idempotency-key", key))
            .await;
        reply.problem(400, "invalid_argument", "INVALID_ARGUMENT");
    }
    let twice = and(
        and(signed_in(Method::POST, PATH, ""), "idempotency-key", "a"),
        "idempotency-key",
        "b",
    );
    shop.send(twice)
        .await
        .problem(400, "invalid_argument", "INVALID_ARGUMENT");
    assert!(shop.fakes.script().calls.is_empty());
}

#[tokio::test]
async fn malformed_purchases_are_invalid_requests() {
    let shop = completed().await;
    let table: &[(&str, &[&str])] = &[
        ("{", &[]),
        ("[]", &[]),
        (r#""k""#, &[]),
        (r#"{"idempotency_key":1}"#, &["idempotency_key"]),
        (r#"{"idempotency_key":"\ud800"}"#, &["idempotency_key"]),
        (r#"{"idempotency_key":"k","payment_method":7}"#, &["payment_method"]),
        (
            r#"{"idempotency_key":"k","accept_price_changes":"yes"}"#,
            &["accept_price_changes"],
        ),
        (
            r#"{"idempotency_key":"k","accept_price_changes":1}"#,
            &["accept_price_changes"],
        ),
        (r#"{"idempotency_key":"k","idempotency_key":"k"}"#, &["idempotency_key"]),
        (r#"{"idempotency_key":"k","total_amount":0.01}"#, &["total_amount"]),
    ];
    for (body, fields) in table {
        let reply = shop
            .send(and(signed_in(Method::POST, PATH, *body), "idempotency-key", "k"))
            .await;
        reply.problem(400, "invalid_request", "INVALID_REQUEST");
        assert_eq!(reply.error_fields(), *fields, "{body}");
    }
    let not_utf8 = signed_in(Method::POST, PATH, b"{\"idempotency_key\":\"\xff\"}".to_vec());
    shop.send(not_utf8)
        .await
        .problem(400, "invalid_request", "INVALID_REQUEST");
    assert!(shop.fakes.script().calls.is_empty());
}

#[tokio::test]
async fn refusals_of_the_checkout_service_are_shown() {
    let shop = completed().await;
    let refusals = [
        (Reason::CartEmpty, "cart is empty", 400, "invalid_request"),
        (
            Reason::ProductUnavailable,
            "product 3 is no longer sold",
            409,
            "conflict",
        ),
        (
            Reason::IdempotencyKeyReused,
            "the key was used for another request",
            422,
            "unprocessable",
        ),
    ];
    for (reason, text, status, code) in refusals {
        shop.fakes.refuse(Refusal::new(reason, text));
        let reply = shop.json(Method::POST, PATH, r#"{"idempotency_key":"k"}"#).await;
        assert_eq!(reply.problem(status, code, reason.as_str())["detail"], text);
    }
}

#[tokio::test]
async fn optional_fields_may_be_null() {
    let shop = completed().await;
    let body = concat!(
        r#"{"idempotency_key":null,"payment_method":null,"#,
        r#""accept_price_changes":null,"expected_total":null}"#
    );
    let request = and(signed_in(Method::POST, PATH, body), "idempotency-key", "k");
    assert_eq!(shop.send(request).await.status, 201);
    let message = concat!(
        r#"InitiateCheckoutRequest { user_id: "customer-7", idempotency_key: "k", payment_method: "", "#,
        "accept_price_changes: false, expected_total: None, cart_version: None }"
    );
    assert_eq!(shop.fakes.call().message, message);
    let reply = shop.json(Method::POST, PATH, body).await;
    reply.problem(400, "missing_idempotency_key", "MISSING_IDEMPOTENCY_KEY");
}

#[tokio::test]
async fn a_checkout_is_shown_with_its_history() {
    let step = |status: CheckoutStatus, detail: &str| HistoryEntry {
        status: status.into(),
        at: then(),
        detail: detail.to_owned(),
    };
    let history = vec![
        step(CheckoutStatus::Initiated, ""),
        step(CheckoutStatus::Completed, "done"),
    ];
    let shop = shop(Checkout {
        history,
        ..checkout(CheckoutStatus::Completed)
    })
    .await;
    let reply = shop.get(&format!("{PATH}/{}", ID.to_uppercase())).await;
    let history = concat!(
        r#","history":[{"status":"INITIATED","at":"2026-01-02T03:04:05.000Z","detail":""},"#,
        r#"{"status":"COMPLETED","at":"2026-01-02T03:04:05.000Z","detail":"done"}]}"#
    );
    let expected = format!("{}{history}", COMPLETED.strip_suffix('}').unwrap());
    assert_eq!((reply.status.as_u16(), reply.body), (200, expected));
    let message = format!(r#"GetCheckoutRequest {{ user_id: "customer-7", checkout_id: "{ID}" }}"#);
    assert_eq!(shop.fakes.call().message, message);
}

#[tokio::test]
async fn an_invalid_checkout_id_is_answered_like_an_unknown_one() {
    let shop = completed().await;
    shop.fakes
        .refuse(Refusal::new(Reason::CheckoutNotFound, "checkout not found"));
    let braced = format!("%7B{ID}%7D");
    for id in [ID, "x", "1", "%20", &ID.replace('-', ""), &braced] {
        let problem = shop
            .get(&format!("{PATH}/{id}"))
            .await
            .problem(404, "not_found", "CHECKOUT_NOT_FOUND");
        assert_eq!(problem["detail"], "checkout not found");
    }
    assert_eq!(shop.fakes.script().calls.len(), 1);
    shop.get(&format!("{PATH}/%ff"))
        .await
        .problem(400, "invalid_argument", "INVALID_ARGUMENT");
}

#[tokio::test]
async fn an_unspecified_status_is_an_internal_error() {
    let shop = shop(checkout(CheckoutStatus::Unspecified)).await;
    shop.json(Method::POST, PATH, r#"{"idempotency_key":"k"}"#)
        .await
        .problem(500, "internal_error", "INTERNAL");
}
