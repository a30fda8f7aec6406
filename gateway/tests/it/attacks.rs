//! Clients that exhaust connections and memory, over real sockets.

use std::{net::SocketAddr, time::Duration};

use proto::product::v1::{GetProductsResponse, Product};
use runtime::{http::HttpTimeouts, permits::Permits, serve::Capacity};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::{products::laptop, shop::Shop};

/// A timeout that no test reaches.
const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(200);
const LONG_TIMEOUTS: HttpTimeouts = HttpTimeouts {
    keep_alive: LONG,
    head: LONG,
    progress: LONG,
    answer: LONG,
};
const HEALTH: &str = "GET /health HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n";
const PRODUCTS: &str = "GET /api/v1/products HTTP/1.1\r\nhost: shop\r\n\r\n";
/// More than the system buffers for a connection whose client does not read.
const PAGE: usize = 16 * 1024 * 1024;

fn roomy() -> Capacity {
    Capacity::new(100, 100)
}

/// Products whose list has about this size in JSON.
fn pages(shop: &Shop, size: usize) {
    shop.fakes.script().products = GetProductsResponse {
        products: (0..4)
            .map(|id| Product {
                id: id + 1,
                // A character that is longer in JSON (6 bytes) than in the message, which is limited to 4 MiB.
                description: "\u{1}".repeat(size / 4 / 6),
                ..laptop()
            })
            .collect(),
        ..GetProductsResponse::default()
    };
}

async fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(to).await.unwrap()
}

/// Reads until the connection is closed or reset.
async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(LONG, stream.read_to_end(&mut answer))
        .await
        .unwrap();
    answer
}

async fn ask(mut stream: TcpStream, request: &str) -> String {
    let _ = stream.write_all(request.as_bytes()).await;
    String::from_utf8(until_closed(&mut stream).await).unwrap()
}

#[tokio::test]
async fn pipelined_requests_wait_while_the_client_reads_no_answer() {
    let shop = Shop::open().await;
    pages(&shop, PAGE);
    let gateway = shop.listen(roomy(), LONG_TIMEOUTS).await;
    let mut greedy = TcpStream::connect(gateway.address).await.unwrap();
    greedy.write_all(PRODUCTS.repeat(20).as_bytes()).await.unwrap();
    shop.fakes.entered().await;
    // A client that reads gets its answers meanwhile.
    let mut other = TcpStream::connect(gateway.address).await.unwrap();
    let last = PRODUCTS.replace("host", "connection: close\r\nhost");
    let requests = format!("{}{last}", PRODUCTS.repeat(2));
    other.write_all(requests.as_bytes()).await.unwrap();
    let answers = until_closed(&mut other).await;
    let answers = String::from_utf8(answers).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3);
    assert_eq!(
        shop.fakes.script().calls.len(),
        1 + 3,
        "one answer waits unread; the next request is not processed"
    );
    drop(greedy);
    gateway.stop(LONG).await;
}

#[tokio::test]
async fn an_unread_answer_is_reset_after_the_progress_timeout() {
    let shop = Shop::open().await;
    pages(&shop, PAGE);
    let timeouts = HttpTimeouts {
        progress: SHORT,
        ..LONG_TIMEOUTS
    };
    let gateway = shop.listen(roomy(), timeouts).await;
    let mut greedy = TcpStream::connect(gateway.address).await.unwrap();
    greedy.write_all(PRODUCTS.as_bytes()).await.unwrap();
    let reset = tokio::time::timeout(LONG, greedy.ready(tokio::io::Interest::ERROR)).await;
    assert!(reset.unwrap().unwrap().is_error(), "reset before anything is read");
    gateway.stop(LONG).await;
}

#[tokio::test]
async fn an_answer_that_is_read_too_slowly_is_reset_after_the_answer_timeout() {
    let shop = Shop::open().await;
    pages(&shop, PAGE);
    let timeouts = HttpTimeouts {
        answer: SHORT,
        ..LONG_TIMEOUTS
    };
    let gateway = shop.listen(roomy(), timeouts).await;
    let mut slow = TcpStream::connect(gateway.address).await.unwrap();
    slow.write_all(PRODUCTS.as_bytes()).await.unwrap();
    let mut read = 0;
    let mut some = vec![0; 1024];
    let mut pace = tokio::time::interval(Duration::from_millis(1));
    let reading = async {
        while let Ok(bytes @ 1..) = slow.read(&mut some).await {
            read += bytes;
            pace.tick().await;
        }
    };
    tokio::time::timeout(LONG, reading).await.unwrap();
    assert!(read < PAGE, "{read} bytes");
    gateway.stop(LONG).await;
}

#[tokio::test]
async fn a_connection_over_the_limit_gets_a_problem_and_is_closed() {
    let shop = Shop::open().await;
    let gateway = shop.listen(Capacity::new(2, 1), LONG_TIMEOUTS).await;
    let silent = TcpStream::connect(gateway.address).await.unwrap();
    let refused = until_closed(&mut TcpStream::connect(gateway.address).await.unwrap()).await;
    let refused = String::from_utf8(refused).unwrap();
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert!(refused.contains("RATE_LIMIT_EXCEEDED"), "{refused}");
    assert!(refused.contains("connection: close"), "{refused}");
    // A client that has already sent a request can read the problem: the connection is closed, not reset.
    let mut hasty = TcpStream::connect(gateway.address).await.unwrap();
    hasty.write_all(HEALTH.as_bytes()).await.unwrap();
    let mut refused = String::new();
    let read = tokio::time::timeout(LONG, hasty.read_to_string(&mut refused)).await;
    read.unwrap().expect("closed without a reset");
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    let other = connect_from([127, 0, 0, 2], gateway.address).await;
    let refused = until_closed(&mut connect_from([127, 0, 0, 3], gateway.address).await).await;
    let refused = String::from_utf8(refused).unwrap();
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("SERVICE_UNAVAILABLE"), "{refused}");
    let answer = ask(other, HEALTH).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    drop(silent);
    gateway.stop(LONG).await;
}

#[tokio::test]
async fn when_all_connections_are_taken_those_that_wait_for_their_client_are_closed() {
    let shop = Shop::open().await;
    pages(&shop, PAGE);
    let gateway = shop.listen(Capacity::new(3, 3), LONG_TIMEOUTS).await;
    let mut held = Vec::new();
    for begun in ["", "GET /heal", PRODUCTS] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        held.push(stream);
    }
    shop.fakes.entered().await;
    let customer_connects = async {
        let customer = async || ask(TcpStream::connect(gateway.address).await.unwrap(), HEALTH).await;
        while !customer().await.starts_with("HTTP/1.1 200 ") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, customer_connects)
        .await
        .expect("a customer can connect");
    drop(held);
    gateway.stop(LONG).await;
}

#[tokio::test]
async fn one_idle_connection_is_closed_for_each_new_one() {
    let shop = Shop::open().await;
    let capacity = Capacity::with_memory(Permits::new(4, 4), 1024);
    let gateway = shop.listen(capacity.clone(), LONG_TIMEOUTS).await;
    let mut idle = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let request = HEALTH.replace("close", "keep-alive");
        stream.write_all(request.as_bytes()).await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        idle.push(stream);
    }
    // A shortage of memory closes no idle connection, which holds none. It closes the one that has begun a request.
    let unread_answer = capacity.answer(1024);
    let mut begun = TcpStream::connect(gateway.address).await.unwrap();
    begun.write_all(b"GET /heal").await.unwrap();
    until_closed(&mut begun).await;
    drop(unread_answer);
    let last = TcpStream::connect(gateway.address).await.unwrap();
    let newcomer = async {
        let customer = async || ask(TcpStream::connect(gateway.address).await.unwrap(), HEALTH).await;
        while !customer().await.starts_with("HTTP/1.1 200 ") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, newcomer)
        .await
        .expect("a customer can connect");
    drop(last);
    let mut answers = Vec::new();
    for stream in idle {
        answers.push(ask(stream, HEALTH).await.starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(answers, [false, true, true], "the longest idle connection was closed");
    gateway.stop(LONG).await;
}

#[tokio::test]
async fn a_large_answer_over_the_memory_limit_is_a_problem_and_small_ones_are_sent() {
    let shop = Shop::open().await;
    pages(&shop, PAGE);
    let capacity = Capacity::with_memory(Permits::new(100, 100), PAGE);
    let gateway = shop.listen(capacity.clone(), LONG_TIMEOUTS).await;
    let customer = async |request: &str| ask(TcpStream::connect(gateway.address).await.unwrap(), request).await;
    let products = PRODUCTS.replace("host", "connection: close\r\nx-request-id: mine\r\nhost");
    let unread_answer = capacity.answer(4 * PAGE);
    let refused = customer(&products).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused:.100}");
    for part in [
        "SERVICE_UNAVAILABLE",
        "retry-after: 1",
        "x-request-id: mine",
        "/api/v1/products",
    ] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    assert!(customer(HEALTH).await.starts_with("HTTP/1.1 200 "));
    drop(unread_answer);
    assert!(customer(&products).await.starts_with("HTTP/1.1 200 "));
    gateway.stop(LONG).await;
}

#[tokio::test]
async fn an_unfinished_head_behind_a_request_times_out() {
    let shop = Shop::open().await;
    let timeouts = HttpTimeouts {
        head: SHORT,
        keep_alive: 2 * LONG,
        ..LONG_TIMEOUTS
    };
    let gateway = shop.listen(roomy(), timeouts).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let request = HEALTH.replace("close", "keep-alive");
    let behind = format!("GET /health HTTP/1.1\r\nx: {}", "a".repeat(4000));
    stream.write_all((request + &behind).as_bytes()).await.unwrap();
    let answers = String::from_utf8(until_closed(&mut stream).await).unwrap();
    let statuses: Vec<_> = answers
        .match_indices("HTTP/1.1 ")
        .map(|(at, _)| &answers[at + 9..at + 12])
        .collect();
    assert_eq!(statuses, ["200", "408"], "{answers}");
    gateway.stop(LONG).await;
}

#[tokio::test]
async fn unfinished_heads_share_a_memory_limit() {
    let shop = Shop::open().await;
    let room = Capacity::with_memory(Permits::new(100, 100), 256 * 1024);
    let gateway = shop.listen(room, LONG_TIMEOUTS).await;
    let head = format!("GET /health HTTP/1.1\r\nhost: shop\r\nx: {}", "a".repeat(30_000));
    let heads = (0..20).map(|_| async {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        // Each further byte of the head checks the memory limit.
        let (mut from, mut to) = stream.split();
        let mut answer = String::new();
        let send_head = async {
            to.write_all(head.as_bytes()).await?;
            let mut pace = tokio::time::interval(SHORT);
            while to.write_all(b"a").await.is_ok() {
                pace.tick().await;
            }
            std::io::Result::Ok(())
        };
        tokio::select! {
            _ = from.read_to_string(&mut answer) => answer,
            _ = send_head => String::new(),
        }
    });
    let answers = futures::future::select_all(heads.map(Box::pin));
    let (first, ..) = tokio::time::timeout(LONG / 2, answers)
        .await
        .expect("a head is refused");
    assert!(first.is_empty() || first.starts_with("HTTP/1.1 408 "), "{first}");
    let customer = TcpStream::connect(gateway.address).await.unwrap();
    assert!(ask(customer, HEALTH).await.starts_with("HTTP/1.1 200 "));
    gateway.stop(LONG).await;
}

#[test]
fn the_default_timeouts_are_the_documented_ones() {
    let usual = HttpTimeouts {
        keep_alive: Duration::from_secs(75),
        head: Duration::from_secs(10),
        progress: Duration::from_secs(30),
        answer: Duration::from_mins(2),
    };
    assert_eq!(HttpTimeouts::default(), usual);
}
