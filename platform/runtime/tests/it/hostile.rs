//! Limits and timeouts for clients that misbehave.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use runtime::{
    Faults, Runtime, Service,
    channel::Peer,
    permits::Permits,
    serve::{Capacity, GrpcLimits, GrpcTimeouts, Running},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::Barrier,
};
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::server::{Behaviour, Echo, call, policy, serve};

/// Far longer than any of these tests should take.
const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(200);
const LONG_TIMEOUTS: GrpcTimeouts = GrpcTimeouts {
    handshake: LONG,
    idle: LONG,
    answer: LONG,
    max_age: LONG,
    grace: LONG,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

async fn open(capacity: Capacity, timeouts: GrpcTimeouts) -> (Echo, Running, Peer) {
    let runtime = Runtime {
        limits: GrpcLimits {
            capacity,
            timeouts,
            ..GrpcLimits::default()
        },
        ..Runtime::system()
    };
    let echo = Echo::new();
    let service = Service::new("echo", echo.clone(), runtime.tasks.clone());
    let (running, _, tcp) = serve(service, Faults::none(), &runtime).await;
    (echo, running, tcp)
}

fn ample_capacity() -> Capacity {
    Capacity::new(100, 100)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The client's preface and settings, with this flow-control window for each answer.
fn handshake(window: u32) -> Vec<u8> {
    let initial_window_size = [&[0, 4], &window.to_be_bytes()[..]].concat();
    [PREFACE, &frame(4, 0, 0, &initial_window_size)].concat()
}

/// A call of `Echo` with an empty message.
fn echo_call(stream: u32) -> Vec<u8> {
    call_frames("Echo", stream)
}

/// A call of this method with an empty message.
fn call_frames(method: &str, stream: u32) -> Vec<u8> {
    [request_headers(method, stream), frame(0, 1, stream, &[0; 5])].concat()
}

fn request_headers(method: &str, stream: u32) -> Vec<u8> {
    let path = format!("/test.v1.EchoService/{method}");
    let mut headers = vec![0x83, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    headers.extend_from_slice(path.as_bytes());
    headers.extend_from_slice(b"\x01\x04echo\x00\x02te\x08trailers\x0f\x10\x10application/grpc");
    frame(1, 4, stream, &headers)
}

async fn connect(address: SocketAddr, hello: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(hello).await.unwrap();
    stream
}

async fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(to).await.unwrap()
}

/// Waits until the server closes the connection.
async fn closed(mut stream: TcpStream) {
    // An error means closed, too.
    let _ = tokio::time::timeout(LONG, stream.read_to_end(&mut Vec::new()))
        .await
        .unwrap();
}

/// Whether the server serves the connection: then the server sends its settings.
async fn is_served(stream: &mut TcpStream) -> bool {
    let read = tokio::time::timeout(LONG, stream.read(&mut [0; 9])).await.unwrap();
    read.is_ok_and(|bytes| bytes > 0)
}

#[tokio::test]
async fn a_connection_without_handshake_is_closed_and_one_with_calls_stays() {
    let timeouts = GrpcTimeouts {
        handshake: SHORT,
        ..LONG_TIMEOUTS
    };
    let (echo, running, peer) = open(ample_capacity(), timeouts).await;
    let mut used = connect(running.address, &handshake(65_535)).await;
    used.write_all(&echo_call(1)).await.unwrap();
    for hello in [&b""[..], &PREFACE[..10], PREFACE] {
        closed(connect(running.address, hello).await).await;
    }
    call(&peer).await.unwrap();
    used.write_all(&echo_call(3)).await.unwrap();
    while echo.calls() < 3 {
        assert!(is_served(&mut used).await, "it is still there");
    }
    running.stop(LONG).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_timeout() {
    let timeouts = GrpcTimeouts {
        handshake: SHORT,
        idle: SHORT,
        ..LONG_TIMEOUTS
    };
    let (_, running, peer) = open(ample_capacity(), timeouts).await;
    call(&peer).await.unwrap();
    closed(connect(running.address, &handshake(65_535)).await).await;
    // The runtime's own client reconnects without a failed call.
    call(&peer).await.unwrap();
    running.stop(LONG).await;
}

#[tokio::test]
async fn an_unread_answer_closes_its_connection_whatever_the_window() {
    for window in [0, 1] {
        let timeouts = GrpcTimeouts {
            answer: SHORT,
            ..LONG_TIMEOUTS
        };
        let (echo, running, peer) = open(ample_capacity(), timeouts).await;
        call(&peer).await.unwrap();
        let mut greedy = connect(running.address, &handshake(window)).await;
        for stream in [1, 3, 5] {
            greedy.write_all(&echo_call(stream)).await.unwrap();
        }
        closed(greedy).await;
        assert_eq!(echo.calls(), 4);
        call(&peer).await.unwrap();
        running.stop(LONG).await;
    }
}

#[tokio::test]
async fn a_slow_handler_closes_no_connection() {
    let timeouts = GrpcTimeouts {
        handshake: SHORT,
        idle: SHORT,
        answer: SHORT,
        ..LONG_TIMEOUTS
    };
    let (echo, running, _) = open(ample_capacity(), timeouts).await;
    echo.behave(Behaviour::Hang);
    let mut slow = policy(Faults::none());
    slow.deadline = 5 * SHORT;
    let peer = Peer::tcp(&running.address.to_string(), slow).unwrap();
    let code = call(&peer).await.unwrap_err().code();
    assert!(matches!(code, Code::DeadlineExceeded), "{code:?}");
    assert_eq!(echo.calls(), 1, "no connection was lost, or it had been sent again");
    running.stop(LONG).await;
}

#[tokio::test]
async fn an_old_connection_ends_its_stream_with_a_status() {
    let timeouts = GrpcTimeouts {
        max_age: SHORT,
        ..LONG_TIMEOUTS
    };
    let (_, running, peer) = open(ample_capacity(), timeouts).await;
    let address = format!("http://{}", running.address);
    let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
    let asked = HealthClient::new(channel).watch(HealthCheckRequest::default()).await;
    let mut watch = asked.unwrap().into_inner();
    watch.message().await.unwrap().expect("it serves");
    call(&peer).await.unwrap();
    assert_eq!(watch.message().await.unwrap_err().code(), Code::Unavailable);
    call(&peer).await.unwrap();
    running.stop(LONG).await;
}

#[tokio::test]
async fn one_address_gets_its_limit_of_connections_and_further_ones_are_closed() {
    let (_, running, _) = open(Capacity::new(3, 2), LONG_TIMEOUTS).await;
    let address = running.address;
    let mut first = connect(address, b"").await;
    let mut second = connect(address, b"").await;
    assert!(is_served(&mut first).await && is_served(&mut second).await);
    closed(connect(address, b"").await).await;
    let mut other = connect_from([127, 0, 0, 2], address).await;
    assert!(is_served(&mut other).await);
    closed(connect_from([127, 0, 0, 3], address).await).await;
    // A released permit can be acquired again.
    drop(other);
    let again = async {
        while !is_served(&mut connect_from([127, 0, 0, 3], address).await).await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, again).await.unwrap();
    running.stop(LONG).await;
}

#[tokio::test]
async fn when_all_connections_are_taken_those_that_only_wait_make_room() {
    let (_, running, peer) = open(Capacity::new(3, 3), LONG_TIMEOUTS).await;
    let silent = connect(running.address, b"").await;
    let idle = connect(running.address, &handshake(65_535)).await;
    let mut unread = connect(running.address, &handshake(0)).await;
    unread.write_all(&echo_call(1)).await.unwrap();
    let calls = async {
        while call(&peer).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, calls).await.expect("a newcomer gets in");
    // Not all of them need to be closed. The newcomer must not wait for the timeouts.
    drop((silent, idle, unread));
    running.stop(LONG).await;
}

const HEADERS: u8 = 1;
const GOAWAY: u8 = 7;

/// Kind, stream and payload.
async fn next_frame(stream: &mut TcpStream) -> (u8, u32, Vec<u8>) {
    let mut head = [0; 9];
    tokio::time::timeout(LONG, stream.read_exact(&mut head))
        .await
        .unwrap()
        .unwrap();
    let [_, high, low, kind, _, of_stream @ ..] = head;
    let mut payload = vec![0; usize::from(u16::from_be_bytes([high, low]))];
    stream.read_exact(&mut payload).await.unwrap();
    (kind, u32::from_be_bytes(of_stream), payload)
}

/// Reads frames until one of these kinds arrives.
async fn next_of(stream: &mut TcpStream, kinds: &[u8]) -> u8 {
    loop {
        let (kind, ..) = next_frame(stream).await;
        if kinds.contains(&kind) {
            return kind;
        }
    }
}

#[tokio::test]
async fn idle_connections_make_room_for_no_more_than_come() {
    let capacity = Capacity::with_memory(Permits::new(4, 4), 1000);
    let (_, running, peer) = open(capacity.clone(), LONG_TIMEOUTS).await;
    let mut idle = Vec::new();
    for _ in 0..3 {
        let mut stream = connect(running.address, &handshake(65_535)).await;
        stream.write_all(&echo_call(1)).await.unwrap();
        assert_eq!(next_of(&mut stream, &[HEADERS, GOAWAY]).await, HEADERS);
        idle.push(stream);
    }
    // Memory pressure does not evict idle connections, which hold no memory. It closes a newer one without handshake.
    let untaken = capacity.answer(1000);
    closed(connect(running.address, b"").await).await;
    drop(untaken);
    let _last = connect(running.address, &handshake(65_535)).await;
    let mut oldest = idle.remove(0);
    let calls = async {
        while call(&peer).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    let leaves = async {
        next_of(&mut oldest, &[GOAWAY]).await;
        drop(oldest);
    };
    let (newcomer, ()) = tokio::join!(tokio::time::timeout(LONG, calls), leaves);
    newcomer.expect("it gets in");
    for mut stream in idle {
        stream.write_all(&echo_call(3)).await.unwrap();
        // The trailers of the first answer, and the headers of the second.
        for _ in 0..2 {
            assert_eq!(
                next_of(&mut stream, &[HEADERS, GOAWAY]).await,
                HEADERS,
                "it need not leave"
            );
        }
    }
    running.stop(LONG).await;
}

/// Waits until one of the connections is closed, and removes it.
async fn one_closes(held: &mut Vec<TcpStream>) {
    let reads = held.iter_mut().map(|stream| {
        Box::pin(async {
            let mut bytes = [0; 64];
            while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
        })
    });
    let ((), closed, _) = futures::future::select_all(reads).await;
    held.remove(closed);
}

#[tokio::test]
async fn idle_connections_that_ignore_goaway_keep_no_newcomer_out() {
    const HELD: usize = 12;
    let (_, running, _) = open(Capacity::new(HELD, HELD), LONG_TIMEOUTS).await;
    let mut held = Vec::new();
    for _ in 0..HELD {
        let mut stream = connect(running.address, &handshake(65_535)).await;
        assert!(is_served(&mut stream).await);
        held.push(stream);
    }
    // Only connections that have been idle for a while are evicted.
    while tokio::time::timeout(SHORT, one_closes(&mut held)).await.is_err() {
        closed(connect(running.address, b"").await).await;
    }
    // From here on no newcomer comes during a wait: a newcomer would trigger further evictions.
    let mut newcomers = Vec::new();
    while newcomers.len() < HELD / 2 {
        let mut newcomer = connect(running.address, &handshake(65_535)).await;
        if is_served(&mut newcomer).await {
            newcomers.push(newcomer);
        } else {
            let closes = tokio::time::timeout(LONG / 2, one_closes(&mut held)).await;
            closes.expect("it is not waited for");
        }
    }
    running.stop(LONG).await;
}

#[tokio::test]
async fn unread_answers_use_bounded_memory() {
    // An answer has 5 bytes. New answers are made below four times the memory.
    let capacity = Capacity::with_memory(Permits::new(100, 100), 10);
    let (echo, running, peer) = open(capacity, LONG_TIMEOUTS).await;
    let mut greedy = connect(running.address, &handshake(0)).await;
    for stream in 0..50 {
        greedy.write_all(&echo_call(2 * stream + 1)).await.unwrap();
    }
    closed(greedy).await;
    assert!(echo.calls() < 50, "{} answers were made", echo.calls());
    call(&peer).await.unwrap();
    running.stop(LONG).await;
}

const WINDOW_UPDATE: u8 = 8;
const PING: u8 = 6;

#[tokio::test]
async fn requests_that_wait_for_memory_are_limited_to_one_largest_message_per_connection() {
    let capacity = Capacity::with_memory(Permits::new(100, 100), 10);
    let untaken = capacity.answer(1000);
    let (_, running, _) = open(capacity, LONG_TIMEOUTS).await;
    let mut waiting = connect(running.address, &handshake(65_535)).await;
    waiting.write_all(&request_headers("Echo", 1)).await.unwrap();
    // As much as the initial window allows.
    for _ in 0..4 {
        waiting.write_all(&frame(0, 0, 1, &[0; 16_000])).await.unwrap();
    }
    let mut window = 65_535;
    let mut asked = false;
    loop {
        let (kind, stream, payload) = next_frame(&mut waiting).await;
        match (kind, stream) {
            (WINDOW_UPDATE, 0) => {
                window += u32::from_be_bytes(payload.try_into().unwrap());
                if !asked {
                    waiting.write_all(&frame(PING, 0, 0, &[0; 8])).await.unwrap();
                    asked = true;
                }
            }
            // The server has processed all earlier frames.
            (PING, _) if asked => break,
            _ => {}
        }
    }
    assert_eq!(window, 256 * 1024);
    drop(untaken);
    running.stop(LONG).await;
}

/// How many calls were answered with only a status, on a connection that is read to its end.
async fn refused(mut stream: TcpStream) -> usize {
    let mut frames = Vec::new();
    let _ = tokio::time::timeout(LONG, stream.read_to_end(&mut frames))
        .await
        .unwrap();
    let (mut rest, mut refused) = (&frames[..], 0);
    while let [_, high, low, kind, flags, ..] = *rest {
        // Headers that end their stream.
        refused += usize::from(kind == HEADERS && flags & 1 == 1);
        rest = rest
            .get(9 + usize::from(u16::from_be_bytes([high, low]))..)
            .unwrap_or_default();
    }
    refused
}

#[tokio::test]
async fn concurrent_large_answers_beyond_the_memory_limit_are_refused() {
    let memory = 10 * 1024;
    let capacity = Capacity::with_memory(Permits::new(100, 100), memory);
    let (echo, running, peer) = open(capacity, LONG_TIMEOUTS).await;
    // All calls find memory when they arrive, and none after the first four answers. Answers to changes are sent.
    for (method, withheld) in [("GetEcho", 16 - 4), ("Echo", 0)] {
        echo.behave(Behaviour::AllAtOnce(memory, Arc::new(Barrier::new(16))));
        let mut greedy = connect(running.address, &handshake(0)).await;
        for stream in 0..16 {
            greedy.write_all(&call_frames(method, 2 * stream + 1)).await.unwrap();
        }
        assert_eq!(refused(greedy).await, withheld, "{method}");
    }
    echo.behave(Behaviour::Answer);
    call(&peer).await.unwrap();
    running.stop(LONG).await;
}

#[tokio::test]
async fn a_request_that_waits_for_memory_keeps_its_connection() {
    let capacity = Capacity::with_memory(Permits::new(100, 100), 10);
    let untaken = capacity.answer(1000);
    let (echo, running, _) = open(capacity, LONG_TIMEOUTS).await;
    let mut waiting = connect(running.address, &handshake(65_535)).await;
    waiting.write_all(&echo_call(1)).await.unwrap();
    // Meanwhile connections that make the server wait are closed, one after another.
    for _ in 0..2 {
        closed(connect(running.address, b"").await).await;
    }
    assert_eq!(echo.calls(), 0);
    drop(untaken);
    while echo.calls() == 0 {
        assert!(is_served(&mut waiting).await, "it is still there");
    }
    running.stop(LONG).await;
}

#[test]
fn the_default_timeouts_are_what_the_documents_say() {
    let usual = GrpcTimeouts {
        handshake: Duration::from_secs(10),
        idle: Duration::from_mins(2),
        answer: Duration::from_secs(30),
        max_age: Duration::from_mins(5),
        grace: Duration::from_secs(90),
    };
    assert_eq!(GrpcTimeouts::default(), usual);
}
