//! Graceful stops, and readiness.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::body::Body;
use http::{StatusCode, uri::PathAndQuery};
use runtime::{Faults, Health, Probe, Runtime, Service, Tasks};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_prost::ProstCodec;
use tower::ServiceExt;

use crate::server::{Behaviour, Echo, call, serve, serve_echo};

/// Asks for readiness.
async fn ready(routes: axum::Router) -> (StatusCode, String) {
    let request = http::Request::get("/health/ready").body(Body::empty()).unwrap();
    let answer = routes.oneshot(request).await.unwrap();
    let status = answer.status();
    let body = axum::body::to_bytes(answer.into_body(), 1 << 16).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_stopped_service_refuses_calls_and_idle_connections_delay_no_stop() {
    let (_, running, memory, tcp) = serve_echo(Faults::none()).await;
    for peer in [&memory, &tcp] {
        call(peer).await.unwrap();
    }
    let began = Instant::now();
    running.stop(Duration::from_secs(20)).await;
    assert!(began.elapsed() < Duration::from_secs(10), "waited for idle connections");
    for peer in [&memory, &tcp] {
        call(peer).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_stop_waits_for_a_call_in_flight_but_not_for_ever() {
    let (echo, running, memory, _) = serve_echo(Faults::none()).await;
    echo.behave(Behaviour::Hang);
    let mut hung = Box::pin(call(&memory));
    while echo.calls() == 0 {
        tokio::select! {
            _ = &mut hung => panic!("answered"),
            () = tokio::task::yield_now() => {}
        }
    }
    tokio::time::timeout(Duration::from_secs(10), running.stop(Duration::from_millis(100)))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_stop_waits_for_transactions_last() {
    let (echo, runtime) = (Echo::new(), Runtime::system());
    let (transactions, background) = (Tasks::new(), runtime.tasks.clone());
    let service = Service::new("echo", echo, runtime.tasks.clone()).waits_for(transactions.clone());
    let (running, _, _) = serve(service, Faults::none(), &runtime).await;
    let last = Arc::new(AtomicUsize::new(0));
    let (of_background, of_store) = (last.clone(), last.clone());
    runtime.tasks.spawn(async move {
        background.stopping().await;
        assert_eq!(of_background.swap(1, Ordering::SeqCst), 0);
    });
    let stopping = transactions.clone();
    transactions.spawn(async move {
        stopping.stopping().await;
        assert_eq!(
            of_store.swap(2, Ordering::SeqCst),
            1,
            "background work could still write"
        );
    });
    running.stop(Duration::from_secs(20)).await;
    assert_eq!(last.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn idle_connections_streams_and_partial_requests_delay_no_stop() {
    let (echo, running, _memory, _) = serve_echo(Faults::none()).await;
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    let address = format!("http://{}", running.address);
    let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
    let mut watch = HealthClient::new(channel.clone())
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    let status = |status: ServingStatus| HealthCheckResponse { status: status.into() };
    assert_eq!(watch.message().await.unwrap(), Some(status(ServingStatus::Serving)));
    // A request that never arrives completely, so that its handler does not begin.
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let half = tonic::Request::new(futures::stream::pending::<()>());
    let path = PathAndQuery::from_static("/test.v1.EchoService/Echo");
    let half = grpc.client_streaming(half, path, ProstCodec::<(), ()>::default());

    let began = Instant::now();
    let stop = async {
        // The request is in flight when the stop begins.
        tokio::task::yield_now().await;
        running.stop(Duration::from_mins(1)).await;
    };
    let (refused, ()) = tokio::join!(half, stop);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(echo.calls(), 0);
    refused.unwrap_err();
    // The connection is closed: only the server's first frames arrive.
    silent.read_to_end(&mut Vec::new()).await.unwrap();
    assert_eq!(
        watch.message().await.unwrap(),
        Some(status(ServingStatus::NotServing)),
        "who watches is told first"
    );
    assert_eq!(watch.message().await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_silent_client_delays_no_stop() {
    let (_, running, ..) = serve_echo(Faults::none()).await;
    // The preface and empty settings. The client never answers the server's frames.
    let mut frozen = TcpStream::connect(running.address).await.unwrap();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    frozen.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    frozen.write_all(&settings).await.unwrap();
    let mut frame = [0; 9];
    frozen.read_exact(&mut frame).await.unwrap();
    let began = Instant::now();
    running.stop(Duration::from_mins(1)).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_panicked_background_task_is_restarted_and_unready_until_it_runs() {
    let (echo, runtime) = (Echo::new(), Runtime::system());
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let (first, starts) = (Mutex::new(Some(gone)), Arc::new(AtomicUsize::new(0)));
    let (tasks, count) = (runtime.tasks.clone(), starts.clone());
    let service = Service::new("echo", echo, runtime.tasks.clone()).background("doomed", move || {
        let (first, tasks) = (first.lock().unwrap().take(), tasks.clone());
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            match first {
                Some(go) => {
                    go.await.unwrap();
                    panic!("as the test wanted");
                }
                None => tasks.stopping().await,
            }
        }
    });
    let routes = Health::new(service.probes.clone()).routes::<()>();
    let becomes = async |wanted: StatusCode| {
        let looks = async {
            loop {
                if ready(routes.clone()).await.0 == wanted {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), looks).await.unwrap();
    };
    let (running, ..) = serve(service, Faults::none(), &runtime).await;
    becomes(StatusCode::OK).await;
    go.send(()).unwrap();
    becomes(StatusCode::SERVICE_UNAVAILABLE).await;
    becomes(StatusCode::OK).await;
    assert_eq!(starts.load(Ordering::SeqCst), 2);
    running.stop(Duration::from_secs(10)).await;
    assert_eq!(starts.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_note_shows_in_readiness_and_leaves_the_process_ready() {
    let routes = Health::new(Vec::new()).note("weather", "fine").routes::<()>();
    let body = r#"{"status":"ok","notes":{"weather":"fine"}}"#;
    assert_eq!(ready(routes).await, (StatusCode::OK, body.to_owned()));
}

#[tokio::test]
async fn an_optional_dependency_that_is_down_shows_and_leaves_the_process_ready() {
    let answer = async |needed, optional| {
        let probes = vec![
            Probe::new("store", move || async move { needed }),
            Probe::new("cache", move || async move { optional }).optional(),
        ];
        ready(Health::new(probes).routes()).await
    };
    let well = r#"{"status":"ok","dependencies":{"cache":"up","store":"up"}}"#;
    assert_eq!(answer(true, true).await, (StatusCode::OK, well.to_owned()));
    let degraded = r#"{"status":"degraded","dependencies":{"cache":"down","store":"up"}}"#;
    assert_eq!(answer(true, false).await, (StatusCode::OK, degraded.to_owned()));
    let away = r#"{"status":"unavailable","dependencies":{"cache":"up","store":"down"}}"#;
    assert_eq!(
        answer(false, true).await,
        (StatusCode::SERVICE_UNAVAILABLE, away.to_owned())
    );
}
