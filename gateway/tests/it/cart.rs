use axum::{
    body::Body,
    http::{Method, Request},
};
use proto::{
    Reason,
    cart::v1::{Cart, CartItem, Hold},
    status::Refusal,
};

use crate::{
    fakes::{then, usd},
    shop::{Shop, USER, and, anonymous, bearer, signed_in},
};

const ITEMS: &str = "/api/v1/cart/items";

fn cart() -> Cart {
    let line = CartItem {
        product_id: 1,
        product_name: "Laptop".to_owned(),
        price: usd(129_999),
        quantity: 2,
        subtotal: usd(259_998),
        added_at: then(),
    };
    Cart {
        cart_id: "cart-1".to_owned(),
        user_id: USER.to_owned(),
        items: vec![line],
        total_price: usd(259_998),
        version: 3,
        updated_at: then(),
        in_checkout: Vec::new(),
    }
}

const CART: &str = concat!(
    r#"{"cart_id":"cart-1","user_id":"customer-7","items":[{"product_id":1,"product_name":"Laptop","price":1299.99,"#,
    r#""quantity":2,"subtotal":2599.98,"added_at":"2026-01-02T03:04:05.000Z"}],"total_items":1,"total_price":2599.98,"#,
    r#""currency":"USD","in_checkout":[],"updated_at":"2026-01-02T03:04:05.000Z"}"#
);

async fn shop() -> Shop {
    let shop = Shop::open().await;
    shop.fakes.script().cart = Some(cart());
    shop
}

#[tokio::test]
async fn every_route_answers_with_the_cart_and_its_version() {
    let shop = shop().await;
    let add = r#"{"product_id":1,"quantity":2}"#;
    let requests = [
        (
            Method::GET,
            "/api/v1/cart",
            "",
            r#"GetCartRequest { user_id: "customer-7", fresh: false }"#,
        ),
        (
            Method::POST,
            ITEMS,
            add,
            r#"AddItemRequest { user_id: "customer-7", product_id: 1, quantity: 2, expected_version: None, idempotency_key: "" }"#,
        ),
        (
            Method::PUT,
            "/api/v1/cart/items/4",
            r#"{"quantity":99}"#,
            r#"UpdateQuantityRequest { user_id: "customer-7", product_id: 4, quantity: 99, expected_version: None }"#,
        ),
        (
            Method::DELETE,
            "/api/v1/cart/items/9007199254740991",
            "",
            r#"RemoveItemRequest { user_id: "customer-7", product_id: 9007199254740991, expected_version: None }"#,
        ),
        (
            Method::DELETE,
            "/api/v1/cart",
            "",
            r#"ClearCartRequest { user_id: "customer-7", expected_version: None }"#,
        ),
    ];
    for (method, path, body, message) in requests {
        let reply = shop.json(method, path, body).await;
        assert_eq!((reply.status.as_u16(), reply.body.as_str()), (200, CART));
        assert_eq!(reply.header("etag"), Some("\"3\""));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert_eq!(shop.fakes.call().message, message);
    }
}

#[tokio::test]
async fn a_new_line_is_created() {
    let shop = shop().await;
    shop.fakes.script().created = true;
    let reply = shop.json(Method::POST, ITEMS, r#"{"quantity":1,"product_id":1}"#).await;
    assert_eq!((reply.status.as_u16(), reply.header("etag")), (201, Some("\"3\"")));
}

#[tokio::test]
async fn a_cart_that_was_never_filled_is_shown_as_empty() {
    let shop = Shop::open().await;
    shop.fakes.script().cart = Some(Cart {
        user_id: USER.to_owned(),
        total_price: usd(0),
        ..Cart::default()
    });
    let reply = shop.get("/api/v1/cart").await;
    let empty = concat!(
        r#"{"cart_id":"","user_id":"customer-7","items":[],"total_items":0,"total_price":0.00,"currency":"USD","#,
        r#""in_checkout":[],"updated_at":null}"#
    );
    assert_eq!((reply.body.as_str(), reply.header("etag")), (empty, Some("\"0\"")));
}

#[tokio::test]
async fn a_cart_without_a_total_or_with_an_invalid_time_is_an_internal_error() {
    let shop = shop().await;
    let no_time = prost_types::Timestamp {
        seconds: i64::MAX,
        nanos: 0,
    };
    for wrong in [
        Cart {
            total_price: None,
            ..cart()
        },
        Cart {
            updated_at: Some(no_time),
            ..cart()
        },
    ] {
        shop.fakes.script().cart = Some(wrong);
        let reply = shop.get("/api/v1/cart").await;
        reply.problem(500, "internal_error", "INTERNAL");
    }
}

#[tokio::test]
async fn pieces_held_by_checkouts_are_shown_apart_from_free_ones() {
    let shop = shop().await;
    let mut cart = cart();
    let held = CartItem {
        product_id: 2,
        product_name: "Mouse".to_owned(),
        price: usd(2_999),
        quantity: 3,
        subtotal: usd(8_997),
        added_at: None,
    };
    cart.in_checkout = vec![Hold {
        checkout_id: "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b".to_owned(),
        items: vec![held],
    }];
    shop.fakes.script().cart = Some(cart);
    let shown = concat!(
        r#""in_checkout":[{"checkout_id":"0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b","items":[{"product_id":2,"#,
        r#""product_name":"Mouse","price":29.99,"quantity":3,"subtotal":89.97}]}]"#
    );
    let reply = shop.get("/api/v1/cart").await;
    assert_eq!(reply.body, CART.replace(r#""in_checkout":[]"#, shown));
}

#[tokio::test]
async fn the_idempotency_key_of_an_addition_is_passed_on() {
    let shop = shop().await;
    let body = r#"{"product_id":1,"quantity":2}"#;
    for (header, key) in [("k-1", "k-1"), ("", ""), (&"k".repeat(255), &"k".repeat(255))] {
        let request = and(signed_in(Method::POST, ITEMS, body), "idempotency-key", header);
        assert_eq!(shop.send(request).await.status, 200);
        let message = shop.fakes.call().message;
        assert!(message.contains(&format!("idempotency_key: {key:?}")), "{message}");
    }
    let twice = and(signed_in(Method::POST, ITEMS, body), "idempotency-key", "a");
    let wrong = [
        and(twice, "idempotency-key", "b"),
        and(signed_in(Method::POST, ITEMS, body), "idempotency-key", "a\tb"),
        and(signed_in(Method::POST, ITEMS, body), "idempotency-key", b"\xff"),
        and(signed_in(Method::POST, ITEMS, body), "idempotency-key", "k".repeat(256)),
    ];
    for request in wrong {
        let reply = shop.send(request).await;
        reply.problem(400, "invalid_argument", "INVALID_ARGUMENT");
        assert_eq!(reply.error_fields(), ["idempotency_key"]);
    }
    assert!(shop.fakes.script().calls.is_empty());
    let refusal = Refusal::new(Reason::IdempotencyKeyReused, "this key was used for another addition");
    shop.fakes.refuse(refusal);
    let request = and(signed_in(Method::POST, ITEMS, body), "idempotency-key", "k-1");
    let reply = shop.send(request).await;
    reply.problem(422, "unprocessable", "IDEMPOTENCY_KEY_REUSED");
}

#[tokio::test]
async fn if_match_becomes_the_expected_version_of_a_change() {
    let shop = shop().await;
    let add = r#"{"product_id":1,"quantity":2}"#;
    let changes = [
        (Method::POST, ITEMS, add),
        (Method::PUT, "/api/v1/cart/items/1", r#"{"quantity":2}"#),
        (Method::DELETE, "/api/v1/cart/items/1", ""),
        (Method::DELETE, "/api/v1/cart", ""),
    ];
    for (method, path, body) in changes {
        for (tag, version) in [("\"3\"", "Some(3)"), ("\"0\"", "Some(0)"), ("*", "None")] {
            let reply = shop
                .send(and(signed_in(method.clone(), path, body), "if-match", tag))
                .await;
            assert_eq!(reply.status, 200, "{}", reply.body);
            let message = shop.fakes.call().message;
            assert!(message.contains(&format!("expected_version: {version}")), "{message}");
        }
        for tag in [
            "3",
            "W/\"3\"",
            "\"03\"",
            "\"-1\"",
            "\"+3\"",
            "\"x\"",
            "\"\"",
            "",
            "\"3\", \"4\"",
            "\"\"3\"\"",
            "\"9223372036854775808\"",
            "caf\u{e9}",
        ] {
            let reply = shop
                .send(and(signed_in(method.clone(), path, body), "if-match", tag))
                .await;
            reply.problem(412, "precondition_failed", "CART_VERSION_MISMATCH");
        }
        let twice = and(
            and(signed_in(method, path, body), "if-match", "\"3\""),
            "if-match",
            "\"4\"",
        );
        shop.send(twice)
            .await
            .problem(412, "precondition_failed", "CART_VERSION_MISMATCH");
    }
    assert!(shop.fakes.script().calls.is_empty());
}

#[tokio::test]
async fn refusals_of_the_cart_service_are_shown() {
    let shop = shop().await;
    let refusals = [
        (Reason::ProductNotFound, "product not found", 404, "not_found"),
        (Reason::ItemNotFound, "item not found in cart", 404, "not_found"),
        (
            Reason::InvalidQuantity,
            "quantity must be between 1 and 99",
            400,
            "invalid_quantity",
        ),
        (Reason::CartFull, "a cart has at most 50 lines", 409, "conflict"),
        (
            Reason::CartVersionMismatch,
            "the cart has changed",
            412,
            "precondition_failed",
        ),
    ];
    for (reason, text, status, code) in refusals {
        shop.fakes.refuse(Refusal::new(reason, text));
        let reply = shop.json(Method::POST, ITEMS, r#"{"product_id":1,"quantity":2}"#).await;
        assert_eq!(reply.problem(status, code, reason.as_str())["detail"], text);
    }
}

#[tokio::test]
async fn malformed_bodies_are_invalid_requests_that_name_the_field() {
    let shop = shop().await;
    let table: &[(&[u8], &[&str])] = &[
        (b"", &["product_id", "quantity"]),
        (b"{}", &["product_id", "quantity"]),
        (b"{\"product_id\":1}", &["quantity"]),
        (b"{\"quantity\":1}", &["product_id"]),
        (b"{", &[]),
        (b"[]", &[]),
        (b"[1,2]", &[]),
        (b"\"x\"", &[]),
        (b"null", &[]),
        (b"1", &[]),
        (b"\xef\xbb\xbf{\"product_id\":1,\"quantity\":1}", &[]),
        (b"{\"product_id\":1,\"quantity\":1} x", &[]),
        (b"{\"product_id\":1,\"quantity\":1}{}", &[]),
        (b"{\"product_id\":01,\"quantity\":1}", &[]),
        (b"{\"product_id\":1,\"quantity\":1,\"\xff\":1}", &[]),
        (b"{\"product_id\":1,\"quantity\":\"\xff\"}", &[]),
        (b"{\"product_id\":\"1\",\"quantity\":1}", &["product_id"]),
        (b"{\"product_id\":1,\"quantity\":\"1\"}", &["quantity"]),
        (b"{\"product_id\":1,\"quantity\":1.5}", &["quantity"]),
        (b"{\"product_id\":1,\"quantity\":1.0}", &["quantity"]),
        (b"{\"product_id\":1,\"quantity\":1e1}", &["quantity"]),
        (b"{\"product_id\":1,\"quantity\":null}", &["quantity"]),
        (b"{\"product_id\":true,\"quantity\":[1]}", &["product_id", "quantity"]),
        (b"{\"product_id\":0,\"quantity\":{}}", &["product_id", "quantity"]),
        (b"{\"product_id\":1,\"quantity\":1,\"price\":0.01}", &["price"]),
        (b"{\"product_id\":1,\"quantity\":1,\"quantity\":2}", &["quantity"]),
        (b"{\"product_id\":1,\"quantity\":1,\"Quantity\":2}", &["Quantity"]),
    ];
    for (body, fields) in table {
        let reply = shop.send(signed_in(Method::POST, ITEMS, body.to_vec())).await;
        reply.problem(400, "invalid_request", "INVALID_REQUEST");
        assert_eq!(reply.error_fields(), *fields, "{}", String::from_utf8_lossy(body));
    }
    for body in ["", "{}", "{", r#"{"quantity":"1"}"#, r#"{"quantity":1,"product_id":1}"#] {
        let reply = shop.json(Method::PUT, "/api/v1/cart/items/1", body).await;
        reply.problem(400, "invalid_request", "INVALID_REQUEST");
    }
    assert!(shop.fakes.script().calls.is_empty());
}

#[tokio::test]
async fn integers_of_any_size_are_checked_for_their_range() {
    let shop = shop().await;
    let huge = "9".repeat(400);
    for n in [
        "0",
        "-1",
        "-0",
        "100",
        "2147483648",
        "4294967297",
        "9223372036854775808",
        "-99999999999999999999",
        &huge,
    ] {
        for (method, path, body) in [
            (Method::POST, ITEMS, format!(r#"{{"product_id":1,"quantity":{n}}}"#)),
            (Method::PUT, "/api/v1/cart/items/1", format!(r#"{{"quantity":{n}}}"#)),
        ] {
            let reply = shop.json(method, path, &body).await;
            let problem = reply.problem(400, "invalid_quantity", "INVALID_QUANTITY");
            assert_eq!(problem["detail"], "quantity must be between 1 and 99");
            assert_eq!(reply.error_fields(), ["quantity"]);
        }
    }
    for n in [
        "0",
        "-1",
        "9007199254740992",
        "9223372036854775808",
        "99999999999999999999",
        &huge,
    ] {
        let reply = shop
            .json(Method::POST, ITEMS, &format!(r#"{{"product_id":{n},"quantity":1}}"#))
            .await;
        reply.problem(400, "invalid_product_id", "INVALID_PRODUCT_ID");
    }
    assert!(shop.fakes.script().calls.is_empty());
    for n in ["1", "99"] {
        let reply = shop
            .json(
                Method::POST,
                ITEMS,
                &format!(r#"{{"product_id":9007199254740991,"quantity":{n}}}"#),
            )
            .await;
        assert_eq!(reply.status, 200);
    }
}

#[tokio::test]
async fn an_invalid_product_id_in_the_path_is_refused() {
    let shop = shop().await;
    for id in ["0", "-1", "x", "1.5", "9007199254740992", "99999999999999999999", "%ff"] {
        let path = format!("/api/v1/cart/items/{id}");
        for (method, body) in [(Method::PUT, r#"{"quantity":1}"#), (Method::DELETE, "")] {
            shop.json(method, &path, body)
                .await
                .problem(400, "invalid_product_id", "INVALID_PRODUCT_ID");
        }
    }
}

#[tokio::test]
async fn only_json_is_read() {
    let shop = shop().await;
    let body = r#"{"product_id":1,"quantity":2}"#;
    let sent = |content_type: Option<&'static str>| {
        let request = and(anonymous(Method::POST, ITEMS, body), "authorization", bearer());
        content_type
            .into_iter()
            .fold(request, |request, kind| and(request, "content-type", kind))
    };
    for kind in [
        None,
        Some(""),
        Some("text/plain"),
        Some("application/jsonx"),
        Some("application/problem+json"),
    ] {
        shop.send(sent(kind))
            .await
            .problem(415, "unsupported_media_type", "UNSUPPORTED_MEDIA_TYPE");
    }
    let twice = and(sent(Some("application/json")), "content-type", "text/plain");
    shop.send(twice)
        .await
        .problem(415, "unsupported_media_type", "UNSUPPORTED_MEDIA_TYPE");
    for kind in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/json;x=y",
    ] {
        assert_eq!(shop.send(sent(Some(kind))).await.status, 200, "{kind}");
    }
}

#[tokio::test]
async fn the_answer_to_a_refused_media_type_or_coding_names_the_accepted_one() {
    let shop = shop().await;
    let body = r#"{"product_id":1,"quantity":2}"#;
    for coding in ["gzip", "br", "identity, gzip", ""] {
        let reply = shop
            .send(and(signed_in(Method::POST, ITEMS, body), "content-encoding", coding))
            .await;
        reply.problem(415, "unsupported_media_type", "UNSUPPORTED_MEDIA_TYPE");
        assert_eq!(
            (reply.header("accept-encoding"), reply.header("accept")),
            (Some("identity"), None)
        );
    }
    let request = and(anonymous(Method::POST, ITEMS, body), "authorization", bearer());
    let reply = shop.send(request).await;
    reply.problem(415, "unsupported_media_type", "UNSUPPORTED_MEDIA_TYPE");
    assert_eq!(
        (reply.header("accept-encoding"), reply.header("accept")),
        (None, Some("application/json"))
    );
    let request = and(signed_in(Method::POST, ITEMS, body), "content-encoding", "Identity");
    assert_eq!(shop.send(request).await.status, 200);
}

#[tokio::test]
async fn only_the_transfer_coding_chunked_is_accepted() {
    let shop = shop().await;
    for coding in ["gzip, chunked", "gzip", "chunked, chunked", "identity"] {
        for (method, path) in [
            (Method::POST, ITEMS),
            (Method::GET, "/api/v1/cart"),
            (Method::GET, "/nothing"),
        ] {
            let request = and(
                signed_in(method, path, r#"{"product_id":1,"quantity":2}"#),
                "transfer-encoding",
                coding,
            );
            let reply = shop.send(request).await;
            reply.problem(501, "not_implemented", "TRANSFER_CODING_UNKNOWN");
        }
    }
    let twice = and(signed_in(Method::POST, ITEMS, "{}"), "transfer-encoding", "gzip");
    let reply = shop.send(and(twice, "transfer-encoding", "chunked")).await;
    reply.problem(501, "not_implemented", "TRANSFER_CODING_UNKNOWN");
    assert!(shop.fakes.script().calls.is_empty());
    let body = r#"{"product_id":1,"quantity":2}"#;
    let request = and(signed_in(Method::POST, ITEMS, body), "transfer-encoding", "Chunked");
    assert_eq!(shop.send(request).await.status, 200);
}

#[tokio::test]
async fn a_body_may_have_at_most_64_kib() {
    let shop = shop().await;
    let of = |length: usize| {
        let body = r#"{"product_id":1,"quantity":2}"#;
        format!("{body}{}", " ".repeat(length - body.len()))
    };
    assert_eq!(shop.json(Method::POST, ITEMS, &of(64 * 1024)).await.status, 200);
    for length in [64 * 1024 + 1, 70_000, 1 << 20, (1 << 20) + 1, 3 << 20] {
        let reply = shop.json(Method::POST, ITEMS, &of(length)).await;
        reply.problem(413, "payload_too_large", "PAYLOAD_TOO_LARGE");
    }
    let chunks = futures::stream::iter((0..300).map(|_| Ok::<_, std::io::Error>(vec![b' '; 8192])));
    let endless: Request<Body> = signed_in(Method::POST, ITEMS, Body::from_stream(chunks));
    shop.send(endless)
        .await
        .problem(413, "payload_too_large", "PAYLOAD_TOO_LARGE");
}

#[tokio::test]
async fn a_truncated_body_is_an_invalid_request() {
    let shop = shop().await;
    let chunks = [Ok(b"{".to_vec()), Err(std::io::Error::other("gone"))];
    let request = signed_in(Method::POST, ITEMS, Body::from_stream(futures::stream::iter(chunks)));
    shop.send(request)
        .await
        .problem(400, "invalid_request", "INVALID_REQUEST");
}
