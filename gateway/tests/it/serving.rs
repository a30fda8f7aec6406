//! Over real sockets.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

use crate::{
    fakes::Fault,
    shop::{Shop, bearer},
};

const HEALTH: &str = "GET /health HTTP/1.1\r\nhost: shop\r\n\r\n";
/// Far longer than any of these should take.
const LIMIT: Duration = Duration::from_secs(20);

async fn serve(shop: &Shop) -> gateway::Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    gateway::serve(shop.router.clone(), listener).unwrap()
}

/// Sends a request and reads until `end` has come.
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
async fn idle_connections_do_not_hold_up_the_stop() {
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
async fn what_does_not_end_is_cut_off() {
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
async fn requests_that_never_arrive_whole_hold_up_no_stop() {
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
    // Connections are taken in order: when this one is answered, the others have been taken.
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
async fn a_head_request_keeps_its_connection_in_step() {
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
