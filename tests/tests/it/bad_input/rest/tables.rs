//! The requests that each route refuses, with the reasons.

use bytes::Bytes;
use http::Method;

use super::{super::NOBODYS, BadRequest};

const ITEMS: &str = "/api/v1/cart/items";
const MOUSE: &str = "/api/v1/cart/items/2";
const CHECKOUT: &str = "/api/v1/checkout";
const KEY: &str = "idempotency-key";
const ONE: &str = r#"{"quantity":1}"#;

fn post(path: &str, body: impl Into<Bytes>, reason: &'static str) -> BadRequest {
    BadRequest::new(Method::POST, path, 400, reason).body(body)
}

fn put(path: impl Into<String>, body: impl Into<Bytes>, reason: &'static str) -> BadRequest {
    BadRequest::new(Method::PUT, path, 400, reason).body(body)
}

fn pages(path: &str) -> impl Iterator<Item = BadRequest> {
    let sizes = "0 -1 101 abc 1.5 99999999999999999999 %ff 1&page_size=2"
        .split(' ')
        .chain([""]);
    let sizes = sizes.map(|size| format!("page_size={size}"));
    let others = "page_token=garbage page_token=%00 page_token=%ff %ff=1"
        .split(' ')
        .map(str::to_owned);
    sizes
        .chain(others)
        .map(move |query| BadRequest::get(format!("{path}?{query}"), 400, "INVALID_ARGUMENT"))
}

pub(super) fn products() -> Vec<BadRequest> {
    let mut all: Vec<_> = pages("/api/v1/products").collect();
    for query in ["%ff", "%00", &"x".repeat(101)] {
        all.push(BadRequest::get(
            format!("/api/v1/products?q={query}"),
            400,
            "INVALID_ARGUMENT",
        ));
    }
    for id in "0 -1 abc 1.0 9007199254740992 9223372036854775808 %ff %2e 1%00".split(' ') {
        all.push(BadRequest::get(
            format!("/api/v1/products/{id}"),
            400,
            "INVALID_PRODUCT_ID",
        ));
    }
    for id in ["424242", "9007199254740991"] {
        all.push(BadRequest::get(
            format!("/api/v1/products/{id}"),
            404,
            "PRODUCT_NOT_FOUND",
        ));
    }
    for path in "/api/v1/products /api/v1/products/1 /api/v1/orders /health /health/ready /api/v1/cart".split(' ') {
        all.push(BadRequest::new(Method::POST, path, 405, "METHOD_NOT_ALLOWED"));
    }
    for path in "/ /api/v2/products /api/v1/products/1/reviews /%ff /api/v1/cart/items/1/2".split(' ') {
        all.push(BadRequest::get(path, 404, "ROUTE_NOT_FOUND"));
    }
    all
}

/// Bodies that are not a JSON object, or come with invalid headers.
fn malformed(method: &Method, path: &str) -> Vec<BadRequest> {
    let texts = "[] null 7 \"x\" { {}} \u{feff}{} {'a':1} {\"a\":NaN} \0"
        .split(' ')
        .chain([" "])
        .map(str::to_owned);
    let deep = ["[".repeat(30_000), format!("{{\"quantity\":{}", "[".repeat(30_000))];
    let not_utf8 = [
        &b"{\"product_id\":1,\"quantity\":1,\"note\":\"\xff\"}"[..],
        b"{\"idempotency_key\":\"\xc3\x28\"}",
    ];
    let bodies = texts
        .chain(deep)
        .map(Bytes::from)
        .chain(not_utf8.map(Bytes::from_static));
    let bad = |status, reason| BadRequest::new(method.clone(), path, status, reason);
    let mut all: Vec<_> = bodies.map(|body| bad(400, "INVALID_REQUEST").body(body)).collect();
    let large = format!("{{\"quantity\":1,\"x\":\"{}\"}}", "x".repeat(64 * 1024));
    all.push(bad(413, "PAYLOAD_TOO_LARGE").body(large));
    for kind in [&b"text/plain"[..], b"application/jsonx", b"\xff"] {
        let typed = bad(415, "UNSUPPORTED_MEDIA_TYPE").with("content-type", kind);
        all.push(BadRequest {
            body: "{}".into(),
            ..typed
        });
    }
    let coded = bad(415, "UNSUPPORTED_MEDIA_TYPE").with("content-encoding", b"gzip");
    all.push(coded.body("{}"));
    let transferred = bad(501, "TRANSFER_CODING_UNKNOWN").with("transfer-encoding", b"gzip, chunked");
    all.push(transferred.body("{}"));
    all
}

fn quantities(bad: impl Fn(&str, &'static str) -> BadRequest) -> Vec<BadRequest> {
    let outside = "0 -1 100 2147483648 9223372036854775808 -9223372036854775809 1000000000000000000000".split(' ');
    let wrong_type = r#""1" 1.0 1e1 true null [1] {}"#.split(' ');
    let outside = outside.map(|quantity| bad(quantity, "INVALID_QUANTITY"));
    outside
        .chain(wrong_type.map(|quantity| bad(quantity, "INVALID_REQUEST")))
        .collect()
}

pub(super) fn additions() -> Vec<BadRequest> {
    let mut all = malformed(&Method::POST, ITEMS);
    all.extend(quantities(|q, reason| {
        post(ITEMS, format!(r#"{{"product_id":1,"quantity":{q}}}"#), reason)
    }));
    for id in ["0", "-1", "9223372036854775808"] {
        all.push(post(
            ITEMS,
            format!(r#"{{"product_id":{id},"quantity":1}}"#),
            "INVALID_PRODUCT_ID",
        ));
    }
    for body in [
        "",
        "{}",
        r#"{"product_id":1}"#,
        r#"{"quantity":1}"#,
        r#"{"product_id":"1","quantity":1}"#,
        r#"{"product_id":1.0,"quantity":1}"#,
        r#"{"product_id":1,"quantity":1,"price":0}"#,
        r#"{"product_id":1,"quantity":1,"user_id":"resident"}"#,
        r#"{"product_id":1,"product_id":2,"quantity":1}"#,
    ] {
        all.push(post(ITEMS, body, "INVALID_REQUEST"));
    }
    for key in [&b"\xff"[..], b"a\tb", &[b'k'; 256]] {
        let body = r#"{"product_id":1,"quantity":1}"#;
        all.push(post(ITEMS, body, "INVALID_ARGUMENT").with(KEY, key));
    }
    let unknown = post(ITEMS, r#"{"product_id":424242,"quantity":1}"#, "PRODUCT_NOT_FOUND");
    all.push(BadRequest { status: 404, ..unknown });
    // The cart has three.
    all.push(post(ITEMS, r#"{"product_id":2,"quantity":97}"#, "INVALID_QUANTITY"));
    all.push(BadRequest::get(ITEMS, 405, "METHOD_NOT_ALLOWED"));
    all
}

pub(super) fn changes() -> Vec<BadRequest> {
    let mut all = malformed(&Method::PUT, MOUSE);
    all.extend(quantities(|q, reason| {
        put(MOUSE, format!(r#"{{"quantity":{q}}}"#), reason)
    }));
    all.push(put(MOUSE, r#"{"quantity":1,"product_id":2}"#, "INVALID_REQUEST"));
    all.push(BadRequest {
        status: 404,
        ..put(format!("{ITEMS}/5"), ONE, "ITEM_NOT_FOUND")
    });
    for id in "0 -1 abc 9223372036854775808 %ff".split(' ') {
        let path = || format!("{ITEMS}/{id}");
        all.push(put(path(), ONE, "INVALID_PRODUCT_ID"));
        all.push(BadRequest::new(Method::DELETE, path(), 400, "INVALID_PRODUCT_ID"));
    }
    let tags = [
        r#""999""#,
        r#""-1""#,
        r#""1", "2""#,
        r#"W/"1""#,
        "1",
        r#""x""#,
        r#""99999999999999999999""#,
    ];
    for tag in tags.map(str::as_bytes).into_iter().chain([&b"\xff"[..]]) {
        let stale =
            |method, path: &str| BadRequest::new(method, path, 412, "CART_VERSION_MISMATCH").with("if-match", tag);
        all.push(stale(Method::DELETE, "/api/v1/cart"));
        all.push(stale(Method::DELETE, MOUSE));
        all.push(stale(Method::PUT, MOUSE).body(ONE));
        all.push(stale(Method::POST, ITEMS).body(r#"{"product_id":1,"quantity":1}"#));
    }
    all
}

pub(super) fn checkouts() -> Vec<BadRequest> {
    let mut all = malformed(&Method::POST, CHECKOUT);
    for body in ["", "{}", r#"{"idempotency_key":""}"#, r#"{"idempotency_key":null}"#] {
        all.push(post(CHECKOUT, body, "MISSING_IDEMPOTENCY_KEY"));
    }
    all.push(post(CHECKOUT, r#"{"idempotency_key":5}"#, "INVALID_REQUEST"));
    for key in [r"a\nb", r"\u0000", &"k".repeat(256)] {
        all.push(post(
            CHECKOUT,
            format!(r#"{{"idempotency_key":"{key}"}}"#),
            "INVALID_ARGUMENT",
        ));
    }
    for rest in [
        r#""payment_method":5"#,
        r#""payment_method":["pm_card_ok"]"#,
        r#""accept_price_changes":"yes""#,
        r#""accept_price_changes":1"#,
        r#""amount":1"#,
        r#""expected_total":"12.50""#,
        r#""expected_total":12.345"#,
        r#""expected_total":1e2"#,
        r#""user_id":"resident""#,
        r#""idempotency_key":"k2""#,
    ] {
        all.push(post(
            CHECKOUT,
            format!(r#"{{"idempotency_key":"k",{rest}}}"#),
            "INVALID_REQUEST",
        ));
    }
    all.push(post(
        CHECKOUT,
        r#"{"idempotency_key":"k","expected_total":-1}"#,
        "INVALID_ARGUMENT",
    ));
    for tag in ["1", "W/\"1\""].map(str::as_bytes) {
        let stale = BadRequest::new(Method::POST, CHECKOUT, 412, "CART_VERSION_MISMATCH").with("if-match", tag);
        all.push(stale.body(r#"{"idempotency_key":"k"}"#));
    }
    for method in ["PM CARD", "pm-card", r"pm\u0000", &"m".repeat(65), "пм"] {
        let body = format!(r#"{{"idempotency_key":"k","payment_method":"{method}"}}"#);
        all.push(post(CHECKOUT, body, "INVALID_ARGUMENT"));
    }
    for key in [&b"\xff"[..], b"a\tb", &[b'k'; 256]] {
        all.push(post(CHECKOUT, "{}", "INVALID_ARGUMENT").with(KEY, key));
    }
    all.push(post(CHECKOUT, "{}", "INVALID_ARGUMENT").with(KEY, b"a").with(KEY, b"b"));
    let reused = r#"{"idempotency_key":"bought","payment_method":"pm_card_slow"}"#;
    all.push(BadRequest {
        status: 422,
        ..post(CHECKOUT, reused, "IDEMPOTENCY_KEY_REUSED")
    });
    for id in ["abc", "1", NOBODYS, "%00", "00000000000040008000000000000000"] {
        all.push(BadRequest::get(format!("{CHECKOUT}/{id}"), 404, "CHECKOUT_NOT_FOUND"));
    }
    all.push(BadRequest::get(format!("{CHECKOUT}/%ff"), 400, "INVALID_ARGUMENT"));
    all.push(BadRequest::get(CHECKOUT, 405, "METHOD_NOT_ALLOWED"));
    all
}

pub(super) fn orders() -> Vec<BadRequest> {
    let mut all: Vec<_> = pages("/api/v1/orders").collect();
    for id in [
        "abc",
        "1",
        "%00",
        "%ff",
        "00000000000040008000000000000000",
        &"0".repeat(5_000),
    ] {
        all.push(BadRequest::get(format!("/api/v1/orders/{id}"), 400, "INVALID_ARGUMENT"));
    }
    let unknown = || format!("/api/v1/orders/{NOBODYS}");
    all.push(BadRequest::get(unknown(), 404, "ORDER_NOT_FOUND"));
    all.push(BadRequest::new(Method::DELETE, unknown(), 405, "METHOD_NOT_ALLOWED"));
    all
}
