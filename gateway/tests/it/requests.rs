//! Request ids, unknown routes and methods, health, panics.

use axum::http::Method;
use runtime::Probe;

use crate::shop::{Setup, Shop, and, anonymous, signed_in};

#[tokio::test]
async fn a_request_id_is_returned_and_passed_on() {
    let shop = Shop::open().await;
    let trace = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01";
    let request = and(signed_in(Method::GET, "/api/v1/orders", ""), "x-request-id", "abc-123");
    let reply = shop.send(and(request, "traceparent", trace)).await;
    assert_eq!(reply.header("x-request-id"), Some("abc-123"));
    let metadata = shop.fakes.call().metadata;
    assert_eq!(metadata.get("x-request-id").unwrap(), "abc-123");
    assert_eq!(metadata.get("traceparent").unwrap(), trace);
}

#[tokio::test]
async fn an_invalid_request_id_is_replaced() {
    let shop = Shop::open().await;
    for wrong in ["", "caf\u{e9}", &"x".repeat(129)] {
        let reply = shop
            .send(and(signed_in(Method::GET, "/api/v1/orders", ""), "x-request-id", wrong))
            .await;
        let id = reply.header("x-request-id").unwrap().to_owned();
        assert_eq!(id.len(), 36, "{id}");
        assert_eq!(shop.fakes.call().metadata.get("x-request-id").unwrap(), id.as_str());
    }
}

#[tokio::test]
async fn problems_have_the_request_id() {
    let shop = Shop::without_services();
    for (method, path) in [
        (Method::GET, "/nothing"),
        (Method::PATCH, "/api/v1/cart"),
        (Method::GET, "/api/v1/cart"),
        (Method::GET, "/api/v1/products"),
        (Method::GET, "/api/v1/products/x"),
    ] {
        let reply = shop
            .send(and(anonymous(method, path, ""), "x-request-id", "abc-123"))
            .await;
        assert_eq!(reply.value()["request_id"], "abc-123");
        assert_eq!(reply.value()["instance"], path);
    }
}

#[tokio::test]
async fn an_unknown_path_is_a_problem() {
    let shop = Shop::open().await;
    for path in [
        "/",
        "/api",
        "/api/v1/nothing",
        "/api/v1/cart/",
        "/api/v1/cart/items/1/2",
        "/api/v1/orders/",
        "/health/x",
        "//",
        "/api/v1/%ff",
    ] {
        shop.get(path).await.problem(404, "not_found", "ROUTE_NOT_FOUND");
    }
}

#[tokio::test]
async fn a_wrong_method_is_a_problem_that_lists_the_allowed_ones() {
    let shop = Shop::open().await;
    for (method, path, allowed) in [
        (Method::PATCH, "/api/v1/cart", "DELETE,GET,HEAD"),
        (Method::GET, "/api/v1/cart/items", "POST"),
        (Method::POST, "/api/v1/cart/items/1", "DELETE,PUT"),
        (Method::GET, "/api/v1/checkout", "POST"),
        (Method::DELETE, "/api/v1/orders", "GET,HEAD"),
        (Method::POST, "/api/v1/products", "GET,HEAD"),
        (Method::OPTIONS, "/api/v1/products/1", "GET,HEAD"),
        (Method::POST, "/health", "GET,HEAD"),
        (Method::POST, "/health/ready", "GET,HEAD"),
    ] {
        let reply = shop.send(anonymous(method, path, "")).await;
        reply.problem(405, "method_not_allowed", "METHOD_NOT_ALLOWED");
        let mut allow: Vec<_> = reply.header("allow").unwrap().split(',').map(str::trim).collect();
        allow.sort_unstable();
        assert_eq!(allow.join(","), allowed, "{path}");
    }
}

#[tokio::test]
async fn health_needs_no_token_and_names_what_is_down() {
    let probes = vec![
        Probe::new("cart store", || async { true }),
        Probe::new("bus", || async { false }),
    ];
    let shop = Shop::with(Setup {
        probes,
        ..Setup::default()
    })
    .await;
    let reply = shop.send(anonymous(Method::GET, "/health", "")).await;
    assert_eq!(
        (reply.status.as_u16(), reply.body.as_str()),
        (200, r#"{"status":"ok"}"#)
    );
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(shop.send(anonymous(Method::GET, "/health/live", "")).await.status, 200);
    let ready = shop.send(anonymous(Method::GET, "/health/ready", "")).await;
    assert_eq!(
        (ready.status.as_u16(), &ready.value()["dependencies"]["bus"]),
        (503, &"down".into())
    );
}

#[tokio::test]
async fn a_panic_in_a_handler_is_an_internal_error() {
    let shop = Shop::with(Setup {
        probes: vec![Probe::new("x", || -> std::future::Ready<bool> {
            panic!("inner words")
        })],
        ..Setup::default()
    })
    .await;
    let reply = shop.send(anonymous(Method::GET, "/health/ready", "")).await;
    reply.problem(500, "internal_error", "INTERNAL");
    assert!(!reply.body.contains("inner words"));
}

#[tokio::test]
async fn many_invalid_fields_make_a_short_answer() {
    let shop = Shop::open().await;
    let fields: Vec<_> = (0..2000).map(|i| format!(r#""{i}-{}":1"#, "x".repeat(20))).collect();
    let reply = shop
        .json(Method::POST, "/api/v1/cart/items", &format!("{{{}}}", fields.join(",")))
        .await;
    reply.problem(400, "invalid_request", "INVALID_REQUEST");
    assert!(reply.body.len() < 4096, "{}", reply.body.len());
}
