//! Every REST route.

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderValue, Method, header};
use serde_json::{Value, json};
use system_tests::shops::{Buyer, Shop};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{NOBODYS, lived_in, without_a_trace};

/// A request, and the refusal that it earns.
struct Bad {
    method: Method,
    path: String,
    headers: Vec<(&'static str, HeaderValue)>,
    body: Bytes,
    status: u16,
    reason: &'static str,
}

impl Bad {
    fn new(method: Method, path: impl Into<String>, status: u16, reason: &'static str) -> Self {
        Self {
            method,
            path: path.into(),
            headers: Vec::new(),
            body: Bytes::new(),
            status,
            reason,
        }
    }

    fn get(path: impl Into<String>, status: u16, reason: &'static str) -> Self {
        Self::new(Method::GET, path, status, reason)
    }

    fn with(mut self, header: &'static str, value: &[u8]) -> Self {
        self.headers.push((header, HeaderValue::from_bytes(value).unwrap()));
        self
    }

    fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.with("content-type", b"application/json")
    }

    async fn send(self, buyer: &Buyer) -> Result<()> {
        let line = format!("{} {} {:?} {:.60?}", self.method, self.path, self.headers, self.body);
        let mut request = buyer.request(self.method, &self.path);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let reply = buyer.send(request.body(self.body)?).await?;
        let problem = reply.json();
        assert_eq!(
            (reply.status.as_u16(), &problem["reason"]),
            (self.status, &json!(self.reason)),
            "{line}: {problem}"
        );
        assert_eq!(
            reply.headers[header::CONTENT_TYPE],
            "application/problem+json",
            "{line}"
        );
        let path = self.path.split('?').next();
        let expected = (Some(u64::from(self.status)), path, &problem["detail"]);
        assert_eq!(
            (
                problem["status"].as_u64(),
                problem["instance"].as_str(),
                &problem["error"]
            ),
            expected,
            "{line}"
        );
        assert_eq!(problem["request_id"], reply.headers["x-request-id"].to_str()?, "{line}");
        assert_eq!(problem["type"], format!("/docs/errors#{}", self.reason), "{line}");
        Ok(())
    }
}

fn pages(path: &str) -> Vec<Bad> {
    let queries = [
        "page_size=0",
        "page_size=-1",
        "page_size=101",
        "page_size=abc",
        "page_size=",
        "page_size=1.5",
        "page_size=99999999999999999999",
        "page_size=%ff",
        "page_size=1&page_size=2",
        "page_token=garbage",
        "page_token=%00",
        "page_token=%ff",
        "%ff=1",
    ];
    queries
        .iter()
        .map(|query| Bad::get(format!("{path}?{query}"), 400, "INVALID_ARGUMENT"))
        .collect()
}

fn products() -> Vec<Bad> {
    let mut all = pages("/api/v1/products");
    for query in ["q=%ff", "q=%00", &format!("q={}", "x".repeat(101))] {
        all.push(Bad::get(format!("/api/v1/products?{query}"), 400, "INVALID_ARGUMENT"));
    }
    for id in ["0", "-1", "abc", "1.0", "9223372036854775808", "%ff", "%2e", "1%00"] {
        all.push(Bad::get(format!("/api/v1/products/{id}"), 400, "INVALID_PRODUCT_ID"));
    }
    for id in ["424242", "9223372036854775807"] {
        all.push(Bad::get(format!("/api/v1/products/{id}"), 404, "PRODUCT_NOT_FOUND"));
    }
    for path in [
        "/api/v1/products",
        "/api/v1/products/1",
        "/api/v1/orders",
        "/health",
        "/health/ready",
    ] {
        all.push(Bad::new(Method::POST, path, 405, "METHOD_NOT_ALLOWED"));
    }
    for path in [
        "/",
        "/api/v2/products",
        "/api/v1/products/1/reviews",
        "/%ff",
        "/api/v1/cart/items/1/2",
    ] {
        all.push(Bad::get(path, 404, "ROUTE_NOT_FOUND"));
    }
    all
}

/// Bodies that are not a JSON object, whatever the route wants of one.
fn malformed(method: &Method, path: &str) -> Vec<Bad> {
    let bad = |body: Bytes| Bad::new(method.clone(), path, 400, "INVALID_REQUEST").body(body);
    let mut all: Vec<_> = [
        "[]",
        "null",
        "7",
        "\"x\"",
        "{",
        "{}}",
        "\u{feff}{}",
        "{'a':1}",
        "{\"a\":NaN}",
        "\0",
        " ",
    ]
    .into_iter()
    .map(|body| bad(Bytes::from_static(body.as_bytes())))
    .collect();
    all.push(bad(Bytes::from_static(
        b"{\"product_id\":1,\"quantity\":1,\"note\":\"\xff\"}",
    )));
    all.push(bad(Bytes::from_static(b"{\"idempotency_key\":\"\xc3\x28\"}")));
    all.push(bad("[".repeat(30_000).into()));
    all.push(bad(format!("{{\"quantity\":{}", "[".repeat(30_000)).into()));
    let large = || Bytes::from(format!("{{\"quantity\":1,\"x\":\"{}\"}}", "x".repeat(64 * 1024)));
    all.push(Bad::new(method.clone(), path, 413, "PAYLOAD_TOO_LARGE").body(large()));
    let typed = |kind: &[u8]| {
        let bad = Bad::new(method.clone(), path, 415, "UNSUPPORTED_MEDIA_TYPE").with("content-type", kind);
        Bad {
            body: Bytes::from_static(b"{}"),
            ..bad
        }
    };
    all.extend([typed(b"text/plain"), typed(b"application/jsonx"), typed(b"\xff")]);
    all
}

fn quantities(bad: impl Fn(&str, &'static str) -> Bad) -> Vec<Bad> {
    let out_of_range = [
        "0",
        "-1",
        "100",
        "2147483648",
        "9223372036854775808",
        "-9223372036854775809",
        "1000000000000000000000",
    ];
    let wrong_type = ["\"1\"", "1.0", "1e1", "true", "null", "[1]", "{}"];
    let out_of_range = out_of_range.iter().map(|quantity| bad(quantity, "INVALID_QUANTITY"));
    out_of_range
        .chain(wrong_type.iter().map(|quantity| bad(quantity, "INVALID_REQUEST")))
        .collect()
}

fn carts() -> Vec<Bad> {
    const ITEMS: &str = "/api/v1/cart/items";
    let add = |body: String, status, reason| Bad::new(Method::POST, ITEMS, status, reason).body(body);
    let set = |body: String, reason| Bad::new(Method::PUT, format!("{ITEMS}/2"), 400, reason).body(body);
    let mut all = malformed(&Method::POST, ITEMS);
    all.extend(malformed(&Method::PUT, "/api/v1/cart/items/2"));
    all.extend(quantities(|q, reason| {
        add(format!(r#"{{"product_id":1,"quantity":{q}}}"#), 400, reason)
    }));
    all.extend(quantities(|q, reason| set(format!(r#"{{"quantity":{q}}}"#), reason)));
    for id in ["0", "-1", "9223372036854775808"] {
        all.push(add(
            format!(r#"{{"product_id":{id},"quantity":1}}"#),
            400,
            "INVALID_PRODUCT_ID",
        ));
    }
    for body in [
        "{}",
        r#"{"product_id":1}"#,
        r#"{"quantity":1}"#,
        r#"{"product_id":"1","quantity":1}"#,
        r#"{"product_id":1.0,"quantity":1}"#,
        r#"{"product_id":1,"quantity":1,"price":0}"#,
        r#"{"product_id":1,"quantity":1,"user_id":"resident"}"#,
        r#"{"product_id":1,"product_id":2,"quantity":1}"#,
    ] {
        all.push(add(body.to_owned(), 400, "INVALID_REQUEST"));
    }
    all.push(Bad::new(Method::POST, ITEMS, 400, "INVALID_REQUEST"));
    all.push(add(
        r#"{"product_id":424242,"quantity":1}"#.to_owned(),
        404,
        "PRODUCT_NOT_FOUND",
    ));
    all.push(add(
        r#"{"product_id":2,"quantity":97}"#.to_owned(),
        400,
        "INVALID_QUANTITY",
    ));
    all.push(set(r#"{"quantity":1,"product_id":2}"#.to_owned(), "INVALID_REQUEST"));
    let one = r#"{"quantity":1}"#;
    all.push(Bad::new(Method::PUT, format!("{ITEMS}/5"), 404, "ITEM_NOT_FOUND").body(one));
    for id in ["0", "-1", "abc", "9223372036854775808", "%ff"] {
        all.push(Bad::new(Method::PUT, format!("{ITEMS}/{id}"), 400, "INVALID_PRODUCT_ID").body(one));
        all.push(Bad::new(
            Method::DELETE,
            format!("{ITEMS}/{id}"),
            400,
            "INVALID_PRODUCT_ID",
        ));
    }
    for tag in [
        &b"\"999\""[..],
        b"\"-1\"",
        b"\"1\", \"2\"",
        b"W/\"1\"",
        b"1",
        b"\"x\"",
        b"\xff",
        b"\"99999999999999999999\"",
    ] {
        let stale = |method, path: &str| Bad::new(method, path, 412, "CART_VERSION_MISMATCH").with("if-match", tag);
        all.push(stale(Method::DELETE, "/api/v1/cart"));
        all.push(stale(Method::DELETE, "/api/v1/cart/items/2"));
        all.push(stale(Method::PUT, "/api/v1/cart/items/2").body(one));
        all.push(stale(Method::POST, ITEMS).body(r#"{"product_id":1,"quantity":1}"#));
    }
    all.push(Bad::new(Method::POST, "/api/v1/cart", 405, "METHOD_NOT_ALLOWED"));
    all.push(Bad::get(ITEMS, 405, "METHOD_NOT_ALLOWED"));
    all
}

fn checkouts() -> Vec<Bad> {
    const PATH: &str = "/api/v1/checkout";
    let buy = |body: String, status, reason| Bad::new(Method::POST, PATH, status, reason).body(body);
    let mut all = malformed(&Method::POST, PATH);
    for body in ["", "{}", r#"{"idempotency_key":""}"#, r#"{"idempotency_key":null}"#] {
        let bad = buy(body.to_owned(), 400, "MISSING_IDEMPOTENCY_KEY");
        all.push(if body.contains("null") {
            Bad {
                reason: "INVALID_REQUEST",
                ..bad
            }
        } else {
            bad
        });
    }
    for key in [r"a\nb".to_owned(), r"\u0000".to_owned(), "k".repeat(256)] {
        all.push(buy(
            format!(r#"{{"idempotency_key":"{key}"}}"#),
            400,
            "INVALID_ARGUMENT",
        ));
    }
    for rest in [
        r#""payment_method":5"#,
        r#""payment_method":["pm_card_ok"]"#,
        r#""accept_price_changes":"yes""#,
        r#""accept_price_changes":1"#,
        r#""amount":1"#,
        r#""user_id":"resident""#,
        r#""idempotency_key":"k2""#,
    ] {
        all.push(buy(
            format!(r#"{{"idempotency_key":"k",{rest}}}"#),
            400,
            "INVALID_REQUEST",
        ));
    }
    all.push(buy(r#"{"idempotency_key":5}"#.to_owned(), 400, "INVALID_REQUEST"));
    for method in ["PM CARD", "pm-card", r"pm\u0000", &"m".repeat(65), "пм"] {
        all.push(buy(
            format!(r#"{{"idempotency_key":"k","payment_method":"{method}"}}"#),
            400,
            "INVALID_ARGUMENT",
        ));
    }
    for key in [&b"\xff"[..], b"a\tb", &[b'k'; 256]] {
        all.push(buy("{}".to_owned(), 400, "INVALID_ARGUMENT").with("idempotency-key", key));
    }
    all.push(
        buy("{}".to_owned(), 400, "INVALID_ARGUMENT")
            .with("idempotency-key", b"a")
            .with("idempotency-key", b"b"),
    );
    all.push(buy(
        r#"{"idempotency_key":"bought","payment_method":"pm_card_slow"}"#.to_owned(),
        422,
        "IDEMPOTENCY_KEY_REUSED",
    ));
    for id in ["abc", "1", NOBODYS, "%00", "00000000000040008000000000000000"] {
        all.push(Bad::get(format!("{PATH}/{id}"), 404, "CHECKOUT_NOT_FOUND"));
    }
    all.push(Bad::get(format!("{PATH}/%ff"), 400, "INVALID_ARGUMENT"));
    all.push(Bad::get(PATH, 405, "METHOD_NOT_ALLOWED"));
    all
}

fn orders() -> Vec<Bad> {
    let mut all = pages("/api/v1/orders");
    for id in [
        "abc",
        "1",
        "%00",
        "%ff",
        "00000000000040008000000000000000",
        &"0".repeat(5_000),
    ] {
        all.push(Bad::get(format!("/api/v1/orders/{id}"), 400, "INVALID_ARGUMENT"));
    }
    all.push(Bad::get(format!("/api/v1/orders/{NOBODYS}"), 404, "ORDER_NOT_FOUND"));
    all.push(Bad::new(
        Method::DELETE,
        format!("/api/v1/orders/{NOBODYS}"),
        405,
        "METHOD_NOT_ALLOWED",
    ));
    all
}

#[tokio::test]
async fn every_route_refuses_what_makes_no_sense_and_nothing_changes() -> Result<()> {
    let shop = lived_in().await?;
    let resident = shop.buyer("resident")?;
    let all = [products(), carts(), checkouts(), orders()];
    without_a_trace(&shop, async {
        for bad in all.into_iter().flatten() {
            bad.send(&resident).await?;
        }
        let newcomer = shop.buyer("newcomer")?;
        let body = r#"{"idempotency_key":"bought"}"#;
        Bad::new(Method::POST, "/api/v1/checkout", 400, "CART_EMPTY")
            .body(body)
            .send(&newcomer)
            .await
    })
    .await
}

#[tokio::test]
async fn what_belongs_to_another_customer_looks_as_if_it_were_not_there() -> Result<()> {
    let shop = lived_in().await?;
    let (resident, stranger) = (shop.buyer("resident")?, shop.buyer("stranger")?);
    let orders = resident.read("/api/v1/orders").await?;
    let order = orders[0]["id"].as_str().unwrap();
    let checkout = orders[0]["checkout_id"].as_str().unwrap();
    without_a_trace(&shop, async {
        Bad::get(format!("/api/v1/checkout/{checkout}"), 404, "CHECKOUT_NOT_FOUND")
            .send(&stranger)
            .await?;
        Bad::get(format!("/api/v1/orders/{order}"), 404, "ORDER_NOT_FOUND")
            .send(&stranger)
            .await?;
        let detail = |reply: cartwright::http::Reply| reply.json()["detail"].as_str().map(str::to_owned);
        let others = stranger.get(&format!("/api/v1/orders/{order}")).await?;
        let nobodys = stranger.get(&format!("/api/v1/orders/{NOBODYS}")).await?;
        assert_eq!(detail(others), Some(format!("order not found: {order}")));
        assert_eq!(detail(nobodys), Some(format!("order not found: {NOBODYS}")));
        assert_eq!(stranger.read("/api/v1/orders").await?, json!([]));
        assert_eq!(stranger.read("/api/v1/cart").await?["items"], json!([]));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn fixed_texts_are_those_of_the_contract() -> Result<()> {
    let shop = Shop::open().await?;
    let buyer = shop.buyer("somebody")?;
    let detail = async |method: Method, path: &str, body: Option<Value>| -> Result<Value> {
        Ok(buyer.call(method, path, body.as_ref()).await?.json()["detail"].clone())
    };
    let items = "/api/v1/cart/items";
    assert_eq!(
        detail(Method::GET, "/api/v1/products/99", None).await?,
        "product not found"
    );
    let too_many = json!({"product_id": 1, "quantity": 100});
    assert_eq!(
        detail(Method::POST, items, Some(too_many)).await?,
        "quantity must be between 1 and 99"
    );
    let set = json!({"quantity": 1});
    assert_eq!(
        detail(Method::PUT, "/api/v1/cart/items/1", Some(set)).await?,
        "item not found in cart"
    );
    assert_eq!(
        detail(Method::POST, "/api/v1/checkout", None).await?,
        "idempotency_key is required"
    );
    let key = json!({"idempotency_key": "k"});
    assert_eq!(
        detail(Method::POST, "/api/v1/checkout", Some(key)).await?,
        "cart is empty"
    );
    assert_eq!(
        detail(Method::GET, "/api/v1/orders/x%20y", None).await?,
        "invalid order_id: x y"
    );
    Ok(())
}

#[tokio::test]
async fn what_is_hardly_http_is_not_the_shops_fault() -> Result<()> {
    let shop = Shop::open().await?;
    let address = shop.stranger()?.gateway();
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(100_000));
    let wide = format!("GET /health HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(1_000));
    for sent in [
        "garbage\r\n\r\n",
        "GET /health HTTP/9.9\r\n\r\n",
        "GET /health HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        "GET /health HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "POST /api/v1/checkout HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        long.as_str(),
        wide.as_str(),
    ] {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(sent.as_bytes()).await?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await?;
        let head = String::from_utf8_lossy(&head).into_owned();
        assert!(head.starts_with("HTTP/1.1 4"), "{head} for {sent:.60}");
    }
    assert_eq!(shop.stranger()?.read("/health").await?, json!({"status": "ok"}));
    Ok(())
}
