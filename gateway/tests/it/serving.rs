//! Connections and the stop, over real sockets.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use gateway::ForwardedFor;
use runtime::{
    http::{self, HttpTimeouts},
    serve::Capacity,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

use crate::{
    fakes::Fault,
    shop::{Setup, Shop, bearer},
};

const HEALTH: &str = "GET /health HTTP/1.1\r\nhost: shop\r\n\r\n";
/// A timeout that no test reaches.
const LIMIT: Duration = Duration::from_secs(20);

async fn serve(shop: &Shop) -> http::Running {
    serve_with(shop, LONG_TIMEOUTS).await
}

const LONG_TIMEOUTS: HttpTimeouts = HttpTimeouts {
    keep_alive: LIMIT,
    head: LIMIT,
    progress: LIMIT,
    answer: LIMIT,
};

async fn serve_with(shop: &Shop, timeouts: HttpTimeouts) -> http::Running {
    shop.listen(Capacity::new(1000, 1000), timeouts).await
}

/// Sends a request and reads until the answer contains `end`.
async fn exchange(stream: &mut TcpStream, request: &str, end: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains(end) {
        assert_ne!(
            stream.read_buf(&mut answer).await.unwrap(),
            0,
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn idle_connections_do_not_delay_the_stop() {
    let shop = Shop::open().await;
    let gateway = serve(&shop).await;
    let mut used = TcpStream::connect(gateway.address).await.unwrap();
    for _ in 0..2 {
        let answer = exchange(&mut used, HEALTH, r#"{"status":"ok"}"#).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("x-request-id: "),
            "{answer}"
        );
    }
    let fresh = TcpStream::connect(gateway.address).await.unwrap();
    let (address, begin) = (gateway.address, Instant::now());
    gateway.stop(LIMIT).await;
    assert!(begin.elapsed() < LIMIT / 2);
    assert_eq!(used.read(&mut [0; 8]).await.unwrap(), 0);
    drop(fresh);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_stop() {
    let shop = Shop::open().await;
    let gateway = serve(&shop).await;
    let answer = Arc::new(Notify::new());
    shop.fakes.script().fault = Some(Fault::Wait(answer.clone()));
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let orders = format!(
        "GET /api/v1/orders HTTP/1.1\r\nhost: shop\r\nauthorization: {}\r\n\r\n",
        bearer()
    );
    let request = exchange(&mut stream, &orders, "\r\n\r\n[]");
    let ending = async {
        shop.fakes.entered().await;
        let stopping = gateway.stop(LIMIT);
        let release = async { answer.notify_waiters() };
        tokio::join!(stopping, release);
    };
    let (reply, ()) = tokio::join!(request, ending);
    assert!(
        reply.starts_with("HTTP/1.1 200 OK\r\n") && reply.contains("connection: close"),
        "{reply}"
    );
}

#[tokio::test]
async fn requests_that_do_not_end_are_cut_off_at_the_stop() {
    let shop = Shop::open().await;
    let gateway = serve(&shop).await;
    shop.fakes.script().fault = Some(Fault::Hang);
    let mut hanging = TcpStream::connect(gateway.address).await.unwrap();
    let products = "GET /api/v1/products HTTP/1.1\r\nhost: shop\r\n\r\n";
    hanging.write_all(products.as_bytes()).await.unwrap();
    let mut half = TcpStream::connect(gateway.address).await.unwrap();
    half.write_all(b"GET /hea").await.unwrap();
    shop.fakes.entered().await;
    gateway.stop(Duration::from_millis(30)).await;
    for stream in [&mut hanging, &mut half] {
        assert!(matches!(stream.read(&mut [0; 8]).await, Ok(0) | Err(_)));
    }
}

#[tokio::test]
async fn incomplete_requests_do_not_delay_the_stop() {
    let shop = Shop::open().await;
    let gateway = serve(&shop).await;
    let head = "POST /api/v1/cart/items HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\n";
    let halves = [
        "POST /api/v1/ca".to_owned(),
        format!(
            "{head}authorization: {}\r\ncontent-length: 100\r\n\r\n{{\"product",
            bearer()
        ),
        format!(
            "{head}authorization: {}\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{{\"pro",
            bearer()
        ),
    ];
    let mut streams = Vec::new();
    for half in halves {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(half.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    // Connections are accepted in order: when this one is answered, the others have been accepted.
    let mut last = TcpStream::connect(gateway.address).await.unwrap();
    exchange(&mut last, HEALTH, r#"{"status":"ok"}"#).await;
    let begin = Instant::now();
    gateway.stop(2 * LIMIT).await;
    assert!(begin.elapsed() < LIMIT, "{:?}", begin.elapsed());
    for mut stream in streams {
        assert!(matches!(stream.read(&mut [0; 8]).await, Ok(0) | Err(_)));
    }
}

#[tokio::test]
async fn a_client_that_sends_too_much_still_reads_its_answer() {
    let shop = Shop::open().await;
    let gateway = serve(&shop).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let body = " ".repeat(900_000);
    let head = format!(
        "host: shop\r\nauthorization: {}\r\ncontent-type: application/json",
        bearer()
    );
    let request = format!(
        "POST /api/v1/cart/items HTTP/1.1\r\n{head}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let reply = exchange(&mut stream, &request, "PAYLOAD_TOO_LARGE").await;
    assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
    gateway.stop(LIMIT).await;
}

#[tokio::test]
async fn a_connection_is_usable_after_a_head_request() {
    let shop = Shop::open().await;
    let gateway = serve(&shop).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = "HEAD /nothing HTTP/1.1\r\nhost: shop\r\n\r\n";
    let reply = exchange(&mut stream, head, "\r\n\r\n").await;
    assert!(
        reply.starts_with("HTTP/1.1 404 ") && reply.ends_with("\r\n\r\n"),
        "{reply}"
    );
    let reply = exchange(&mut stream, HEALTH, r#"{"status":"ok"}"#).await;
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
    gateway.stop(LIMIT).await;
}

/// Sends the bytes on a new connection and reads until it is closed.
async fn until_closed(gateway: &http::Running, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let (mut from, mut to) = stream.split();
    let mut answer = Vec::new();
    let sent = async {
        // The gateway may close the connection before all is sent.
        let _ = to.write_all(bytes).await;
    };
    let (read, ()) = tokio::join!(from.read_to_end(&mut answer), sent);
    read.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Asserts that an answer is this problem and closes the connection.
#[track_caller]
fn assert_problem(answer: &str, status: u16, reason: &str) -> Value {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    let line = format!("HTTP/1.1 {}", StatusCode::from_u16(status).unwrap());
    assert!(head.starts_with(&line), "{answer}");
    let header = |name: &str| {
        let mut lines = head
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let value = lines.next().unwrap_or_else(|| panic!("no {name}: {head}"));
        assert_eq!(lines.next(), None, "{name} twice: {head}");
        value.to_owned()
    };
    assert_eq!(header("content-type"), "application/problem+json");
    assert_eq!(header("content-length"), body.len().to_string());
    assert_eq!(header("connection"), "close");
    assert!(header("date").ends_with(" GMT"), "{head}");
    let problem: Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        (&problem["status"], &problem["reason"]),
        (&status.into(), &reason.into())
    );
    assert_eq!(problem["request_id"], header("x-request-id"));
    assert_eq!(problem["type"], format!("/docs/errors#{reason}"));
    problem
}

#[tokio::test]
async fn invalid_http_is_a_problem() {
    let shop = Shop::open().await;
    let gateway = serve(&shop).await;
    let a = |n| "a".repeat(n);
    let many = "x: y\r\n".repeat(101);
    let get = |headers: &str| format!("GET /health HTTP/1.1\r\nhost: shop\r\n{headers}\r\n");
    let table = [
        (
            format!("GET /{} HTTP/1.1\r\nhost: shop\r\n\r\n", a(40_000)),
            414,
            "URI_TOO_LONG",
        ),
        (
            format!("GET /{} HTTP/1.1\r\nhost: shop\r\n\r\n", a(900_000)),
            414,
            "URI_TOO_LONG",
        ),
        (get(&format!("x: {}\r\n", a(33_000))), 431, "HEADERS_TOO_LARGE"),
        (get(&format!("x: {}\r\n", a(900_000))), 431, "HEADERS_TOO_LARGE"),
        (get(&many), 431, "HEADERS_TOO_LARGE"),
        (
            get("content-length: 2\r\ncontent-length: 3\r\n"),
            400,
            "INVALID_REQUEST",
        ),
        (get("content-length: -1\r\n"), 400, "INVALID_REQUEST"),
        (get("transfer-encoding: chunked, gzip\r\n"), 400, "INVALID_REQUEST"),
        (get("a b: c\r\n"), 400, "INVALID_REQUEST"),
        ("GET /\u{1} HTTP/1.1\r\n\r\n".to_owned(), 400, "INVALID_REQUEST"),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), 400, "INVALID_REQUEST"),
        ("\u{16}\u{3}\u{1} hello\r\n\r\n".to_owned(), 400, "INVALID_REQUEST"),
    ];
    for (request, status, reason) in table {
        let answer = until_closed(&gateway, request.as_bytes()).await;
        assert_problem(&answer, status, reason);
    }
    // Requests just below the limits are accepted.
    let long = format!("GET /{} HTTP/1.1\r\nconnection: close\r\n\r\n", a(30_000));
    let answer = until_closed(&gateway, long.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    let most = get(&format!("connection: close\r\n{}", "x: y\r\n".repeat(98)));
    let answer = until_closed(&gateway, most.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    gateway.stop(LIMIT).await;
}

#[tokio::test]
async fn invalid_http_behind_requests_leaves_their_answers_complete() {
    let shop = Shop::open().await;
    let gateway = serve(&shop).await;
    for nonsense in ["\u{1}\r\n\r\n", "GET / HTTP/1.1\r\ncontent-length: x\r\n\r\n"] {
        let answer = until_closed(&gateway, format!("{HEALTH}{HEALTH}{nonsense}").as_bytes()).await;
        let mut answers = answer.split_inclusive(r#"{"status":"ok"}"#);
        for _ in 0..2 {
            assert!(answers.next().unwrap().starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        }
        assert_problem(answers.next().unwrap(), 400, "INVALID_REQUEST");
    }
    gateway.stop(LIMIT).await;
}

#[tokio::test]
async fn an_unfinished_head_times_out_and_an_idle_connection_does_not() {
    let shop = Shop::open().await;
    let timeouts = HttpTimeouts {
        head: Duration::from_millis(50),
        ..LONG_TIMEOUTS
    };
    let gateway = serve_with(&shop, timeouts).await;
    let mut idle = TcpStream::connect(gateway.address).await.unwrap();
    let mut used = TcpStream::connect(gateway.address).await.unwrap();
    exchange(&mut used, HEALTH, r#"{"status":"ok"}"#).await;
    for begun in ["G", "GET /health HTTP/1.1\r\nhost: shop\r\n"] {
        let answer = until_closed_without_end(&gateway, begun).await;
        assert_problem(&answer, 408, "REQUEST_TIMEOUT");
    }
    // The same on a connection that was used before.
    used.write_all(b"GET /he").await.unwrap();
    let mut answer = String::new();
    used.read_to_string(&mut answer).await.unwrap();
    assert_problem(&answer, 408, "REQUEST_TIMEOUT");
    exchange(&mut idle, HEALTH, r#"{"status":"ok"}"#).await;
    gateway.stop(LIMIT).await;
}

async fn until_closed_without_end(gateway: &http::Running, begun: &str) -> String {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(begun.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_the_keep_alive_timeout_and_a_busy_one_is_not() {
    let shop = Shop::open().await;
    let keep_alive = Duration::from_millis(300);
    let gateway = serve_with(
        &shop,
        HttpTimeouts {
            keep_alive,
            ..LONG_TIMEOUTS
        },
    )
    .await;
    let answer = Arc::new(Notify::new());
    shop.fakes.script().fault = Some(Fault::Wait(answer.clone()));
    let mut busy = TcpStream::connect(gateway.address).await.unwrap();
    let products = "GET /api/v1/products HTTP/1.1\r\nhost: shop\r\n\r\n";
    busy.write_all(products.as_bytes()).await.unwrap();
    let mut fresh = TcpStream::connect(gateway.address).await.unwrap();
    let mut used = TcpStream::connect(gateway.address).await.unwrap();
    let began = Instant::now();
    exchange(&mut used, HEALTH, r#"{"status":"ok"}"#).await;
    for stream in [&mut fresh, &mut used] {
        // Without an answer: a client that has just sent a request must know that it was not processed.
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    }
    assert!(began.elapsed() >= keep_alive);
    answer.notify_waiters();
    exchange(&mut busy, "", r#"{"products":[]"#).await;
    assert_eq!(busy.read(&mut [0; 8]).await.unwrap(), 0);
    gateway.stop(LIMIT).await;
}

#[tokio::test]
async fn a_client_that_is_still_sending_reads_its_refusal() {
    let shop = Shop::open().await;
    let gateway = serve(&shop).await;
    for body in [10_000, 900_000] {
        let head = "POST /api/v1/cart/items HTTP/1.1\r\nhost: shop\r\nconnection: close";
        let request = format!("{head}\r\ncontent-length: {body}\r\n\r\n{}", " ".repeat(body));
        let answer = until_closed(&gateway, request.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 401 ") && answer.contains("UNAUTHORIZED"),
            "{answer}"
        );
    }
    gateway.stop(LIMIT).await;
}

#[tokio::test]
async fn without_a_user_a_request_counts_for_its_address() {
    for (forwarded_for, statuses) in [
        (ForwardedFor::Ignored, [200, 429, 429, 429]),
        (ForwardedFor::Trusted, [200, 200, 429, 429]),
    ] {
        let shop = Shop::with(Setup {
            max_per_caller: 1,
            forwarded_for,
            ..Setup::default()
        })
        .await;
        let gateway = serve(&shop).await;
        let answer = Arc::new(Notify::new());
        shop.fakes.script().fault = Some(Fault::Wait(answer.clone()));
        let mut asked = Vec::new();
        let mut found = Vec::new();
        // A client's own entries precede the proxy's.
        for from in [
            "192.0.2.1",
            "192.0.2.2",
            "192.0.2.3, 192.0.2.1",
            "2001:db8::1, ::ffff:192.0.2.2",
        ] {
            let request = format!("GET /api/v1/products HTTP/1.1\r\nhost: shop\r\nx-forwarded-for: {from}\r\n\r\n");
            let mut stream = TcpStream::connect(gateway.address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            tokio::select! {
                () = shop.fakes.entered() => asked.push(stream),
                refused = exchange(&mut stream, "", "}") => {
                    assert!(refused.contains("RATE_LIMIT_EXCEEDED"), "{refused}");
                    found.push(429);
                }
            }
        }
        answer.notify_waiters();
        for stream in &mut asked {
            let answer = exchange(stream, "", r#"{"products":[]"#).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            found.insert(0, 200);
        }
        assert_eq!(found, statuses, "{forwarded_for:?}");
        gateway.stop(LIMIT).await;
    }
}

#[tokio::test]
async fn a_partial_request_on_a_used_connection_does_not_delay_the_stop() {
    let shop = Shop::open().await;
    let gateway = serve(&shop).await;
    let mut half = TcpStream::connect(gateway.address).await.unwrap();
    exchange(&mut half, HEALTH, r#"{"status":"ok"}"#).await;
    half.write_all(b"GET /hea").await.unwrap();
    let begin = Instant::now();
    gateway.stop(LIMIT).await;
    assert!(begin.elapsed() < LIMIT / 2);
    assert!(matches!(half.read(&mut [0; 8]).await, Ok(0) | Err(_)));
}
