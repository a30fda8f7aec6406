//! Callers that take without giving: what they may have, and for how long.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use runtime::{
    Faults, Runtime, Service,
    channel::Peer,
    places::Places,
    serve::{Capacity, Limits, Patience, Running},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::Barrier,
};
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::server::{Behaviour, Echo, call, policy, serve};

/// Far longer than any of these should take.
const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(200);
const PATIENT: Patience = Patience {
    handshake: LONG,
    idle: LONG,
    answer: LONG,
    age: LONG,
    grace: LONG,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

async fn open(echo: &Echo, capacity: Capacity, patience: Patience) -> (Running, Peer) {
    let runtime = Runtime {
        limits: Limits {
            capacity,
            patience,
            ..Limits::default()
        },
        ..Runtime::system()
    };
    let service = Service::new("echo", echo.clone(), runtime.tasks.clone());
    let (running, _, tcp) = serve(service, Faults::none(), &runtime).await;
    (running, tcp)
}

fn roomy() -> Capacity {
    Capacity::new(100, 100)
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The client's greeting, with this window for each answer.
fn greeting(window: u32) -> Vec<u8> {
    let initial_window_size = [&[0, 4], &window.to_be_bytes()[..]].concat();
    [PREFACE, &frame(4, 0, 0, &initial_window_size)].concat()
}

/// A call without a message in it worth naming.
fn asking(stream: u32) -> Vec<u8> {
    calling("Echo", stream)
}

/// The same, of this method.
fn calling(method: &str, stream: u32) -> Vec<u8> {
    [beginning(method, stream), frame(0, 1, stream, &[0; 5])].concat()
}

/// The head of a call.
fn beginning(method: &str, stream: u32) -> Vec<u8> {
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
    // Either way it is closed.
    let _ = tokio::time::timeout(LONG, stream.read_to_end(&mut Vec::new()))
        .await
        .unwrap();
}

/// Whether the server serves it: it speaks first.
async fn is_taken_in(stream: &mut TcpStream) -> bool {
    let read = tokio::time::timeout(LONG, stream.read(&mut [0; 9])).await.unwrap();
    read.is_ok_and(|bytes| bytes > 0)
}

#[tokio::test]
async fn a_connection_that_does_not_begin_is_closed_and_one_that_calls_stays() {
    let echo = Echo::new();
    let patience = Patience {
        handshake: SHORT,
        ..PATIENT
    };
    let (running, peer) = open(&echo, roomy(), patience).await;
    let mut used = connect(running.address, &greeting(65_535)).await;
    used.write_all(&asking(1)).await.unwrap();
    for hello in [&b""[..], &PREFACE[..10], PREFACE] {
        closed(connect(running.address, hello).await).await;
    }
    call(&peer).await.unwrap();
    used.write_all(&asking(3)).await.unwrap();
    while echo.calls() < 3 {
        assert!(is_taken_in(&mut used).await, "it is still there");
    }
    running.stop(LONG).await;
}

#[tokio::test]
async fn a_connection_without_calls_is_dismissed_in_time() {
    let echo = Echo::new();
    let patience = Patience { idle: SHORT, ..PATIENT };
    let patience = Patience {
        handshake: SHORT,
        ..patience
    };
    let (running, peer) = open(&echo, roomy(), patience).await;
    call(&peer).await.unwrap();
    closed(connect(running.address, &greeting(65_535)).await).await;
    // A client of ours connects anew, without a call that fails.
    call(&peer).await.unwrap();
    running.stop(LONG).await;
}

#[tokio::test]
async fn an_answer_that_nobody_takes_costs_its_connection_whatever_the_window() {
    for window in [0, 1] {
        let echo = Echo::new();
        let patience = Patience {
            answer: SHORT,
            ..PATIENT
        };
        let (running, peer) = open(&echo, roomy(), patience).await;
        call(&peer).await.unwrap();
        let mut greedy = connect(running.address, &greeting(window)).await;
        for stream in [1, 3, 5] {
            greedy.write_all(&asking(stream)).await.unwrap();
        }
        closed(greedy).await;
        assert_eq!(echo.calls(), 4);
        call(&peer).await.unwrap();
        running.stop(LONG).await;
    }
}

#[tokio::test]
async fn a_handler_that_takes_its_time_costs_no_connection() {
    let echo = Echo::new();
    let patience = Patience {
        handshake: SHORT,
        idle: SHORT,
        answer: SHORT,
        ..PATIENT
    };
    let (running, _) = open(&echo, roomy(), patience).await;
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
async fn a_connection_with_only_a_stream_ends_when_it_is_old_and_its_client_is_told() {
    let echo = Echo::new();
    let patience = Patience { age: SHORT, ..PATIENT };
    let (running, peer) = open(&echo, roomy(), patience).await;
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
async fn one_address_has_its_share_of_the_connections_and_those_beyond_are_closed_at_once() {
    let (running, _) = open(&Echo::new(), Capacity::new(3, 2), PATIENT).await;
    let address = running.address;
    let mut first = connect(address, b"").await;
    let mut second = connect(address, b"").await;
    assert!(is_taken_in(&mut first).await && is_taken_in(&mut second).await);
    closed(connect(address, b"").await).await;
    let mut other = connect_from([127, 0, 0, 2], address).await;
    assert!(is_taken_in(&mut other).await);
    closed(connect_from([127, 0, 0, 3], address).await).await;
    // A place that was left is there again.
    drop(other);
    let again = async {
        while !is_taken_in(&mut connect_from([127, 0, 0, 3], address).await).await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, again).await.unwrap();
    running.stop(LONG).await;
}

#[tokio::test]
async fn when_all_connections_are_taken_those_that_only_wait_make_room() {
    let echo = Echo::new();
    let (running, peer) = open(&echo, Capacity::new(3, 3), PATIENT).await;
    let silent = connect(running.address, b"").await;
    let idle = connect(running.address, &greeting(65_535)).await;
    let mut unread = connect(running.address, &greeting(0)).await;
    unread.write_all(&asking(1)).await.unwrap();
    let calls = async {
        while call(&peer).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, calls).await.expect("a newcomer gets in");
    // Not necessarily all of them had to go; but no newcomer waits for their patience to end.
    drop((silent, idle, unread));
    running.stop(LONG).await;
}

const HEADERS: u8 = 1;
const GOAWAY: u8 = 7;

/// Its kind, its stream and its payload.
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

/// Reads frames until one of these kinds comes.
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
    let echo = Echo::new();
    let capacity = Capacity::with_room(Places::new(4, 4), 1000);
    let (running, peer) = open(&echo, capacity.clone(), PATIENT).await;
    let mut idle = Vec::new();
    for _ in 0..3 {
        let mut stream = connect(running.address, &greeting(65_535)).await;
        stream.write_all(&asking(1)).await.unwrap();
        assert_eq!(next_of(&mut stream, &[HEADERS, GOAWAY]).await, HEADERS);
        idle.push(stream);
    }
    // That memory is short is no reason: they hold none. Who came later and has not begun has to go.
    let untaken = capacity.answer(1000);
    closed(connect(running.address, b"").await).await;
    drop(untaken);
    let _last = connect(running.address, &greeting(65_535)).await;
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
        stream.write_all(&asking(3)).await.unwrap();
        // The end of the first answer, and the second one.
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

/// Waits until one of them is closed, and takes it out.
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
async fn idle_connections_that_do_not_leave_when_they_are_told_keep_no_newcomer_out() {
    const HELD: usize = 12;
    let (running, _) = open(&Echo::new(), Capacity::new(HELD, HELD), PATIENT).await;
    let mut held = Vec::new();
    for _ in 0..HELD {
        let mut stream = connect(running.address, &greeting(65_535)).await;
        assert!(is_taken_in(&mut stream).await);
        held.push(stream);
    }
    // They have to be idle for a while first.
    while tokio::time::timeout(SHORT, one_closes(&mut held)).await.is_err() {
        closed(connect(running.address, b"").await).await;
    }
    // From here on nobody comes while one is waited for: it would remind those that were told.
    let mut newcomers = Vec::new();
    while newcomers.len() < HELD / 2 {
        let mut newcomer = connect(running.address, &greeting(65_535)).await;
        if is_taken_in(&mut newcomer).await {
            newcomers.push(newcomer);
        } else {
            let closes = tokio::time::timeout(LONG / 2, one_closes(&mut held)).await;
            closes.expect("it is not waited for");
        }
    }
    running.stop(LONG).await;
}

#[tokio::test]
async fn answers_that_nobody_takes_have_so_much_room_and_no_more() {
    let echo = Echo::new();
    // An answer has 5 bytes. A new one is made while less than four times the room is on its way.
    let capacity = Capacity::with_room(Places::new(100, 100), 10);
    let (running, peer) = open(&echo, capacity, PATIENT).await;
    let mut greedy = connect(running.address, &greeting(0)).await;
    for stream in 0..50 {
        greedy.write_all(&asking(2 * stream + 1)).await.unwrap();
    }
    closed(greedy).await;
    assert!(echo.calls() < 50, "{} answers were made", echo.calls());
    call(&peer).await.unwrap();
    running.stop(LONG).await;
}

const WINDOW_UPDATE: u8 = 8;
const PING: u8 = 6;

#[tokio::test]
async fn what_waits_for_room_on_a_connection_is_one_message_of_the_largest_size_at_most() {
    let echo = Echo::new();
    let capacity = Capacity::with_room(Places::new(100, 100), 10);
    let untaken = capacity.answer(1000);
    let (running, _) = open(&echo, capacity, PATIENT).await;
    let mut waiting = connect(running.address, &greeting(65_535)).await;
    waiting.write_all(&beginning("Echo", 1)).await.unwrap();
    // As much as may come without being asked for.
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
            // It has seen all that came before.
            (PING, _) if asked => break,
            _ => {}
        }
    }
    assert_eq!(window, 256 * 1024);
    drop(untaken);
    running.stop(LONG).await;
}

/// How many calls were answered with nothing but a status, on a connection that is read to its end.
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
async fn large_answers_that_are_made_at_the_same_time_are_refused_when_there_is_no_room_for_all() {
    let echo = Echo::new();
    let room = 10 * 1024;
    let capacity = Capacity::with_room(Places::new(100, 100), room);
    let (running, peer) = open(&echo, capacity, PATIENT).await;
    // All find room when they come, and none when the first four of them have been answered. What changes something is told
    // so all the same.
    for (method, withheld) in [("GetEcho", 16 - 4), ("Echo", 0)] {
        echo.behave(Behaviour::AllAtOnce(room, Arc::new(Barrier::new(16))));
        let mut greedy = connect(running.address, &greeting(0)).await;
        for stream in 0..16 {
            greedy.write_all(&calling(method, 2 * stream + 1)).await.unwrap();
        }
        assert_eq!(refused(greedy).await, withheld, "{method}");
    }
    echo.behave(Behaviour::Answer);
    call(&peer).await.unwrap();
    running.stop(LONG).await;
}

#[tokio::test]
async fn a_request_that_waits_for_room_costs_its_client_no_connection() {
    let echo = Echo::new();
    let capacity = Capacity::with_room(Places::new(100, 100), 10);
    let untaken = capacity.answer(1000);
    let (running, _) = open(&echo, capacity, PATIENT).await;
    let mut waiting = connect(running.address, &greeting(65_535)).await;
    waiting.write_all(&asking(1)).await.unwrap();
    // Those that let the server wait are closed meanwhile, one after another.
    for _ in 0..2 {
        closed(connect(running.address, b"").await).await;
    }
    assert_eq!(echo.calls(), 0);
    drop(untaken);
    while echo.calls() == 0 {
        assert!(is_taken_in(&mut waiting).await, "it is still there");
    }
    running.stop(LONG).await;
}

#[test]
fn the_usual_patience_is_what_the_documents_say() {
    let usual = Patience {
        handshake: Duration::from_secs(10),
        idle: Duration::from_mins(2),
        answer: Duration::from_secs(30),
        age: Duration::from_mins(5),
        grace: Duration::from_secs(90),
    };
    assert_eq!(Patience::default(), usual);
}
