//! How services stop, and how one says that it is not well.

use std::time::{Duration, Instant};

use axum::body::Body;
use http::StatusCode;
use runtime::{Faults, Health, Probe, Runtime, Service};
use tower::ServiceExt;

use crate::server::{Behaviour, Echo, call, serve};

#[tokio::test]
async fn a_stopped_service_refuses_and_idle_connections_do_not_hold_it_up() {
    let (echo, runtime) = (Echo::new(), Runtime::system());
    let service = Service::new("echo", echo.clone(), runtime.tasks.clone());
    let (running, memory, tcp) = serve(service, Faults::none(), &runtime).await;
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
    let (echo, runtime) = (Echo::new(), Runtime::system());
    let service = Service::new("echo", echo.clone(), runtime.tasks.clone());
    let (running, memory, _) = serve(service, Faults::none(), &runtime).await;
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
async fn a_background_task_that_panicked_makes_the_process_unready() {
    let (echo, runtime) = (Echo::new(), Runtime::system());
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let service = Service::new("echo", echo, runtime.tasks.clone()).background("doomed", async move {
        gone.await.unwrap();
        panic!("as the test wanted");
    });
    let routes = Health::new(service.probes.clone()).routes::<()>();
    let ready = || async {
        let request = http::Request::get("/health/ready").body(Body::empty()).unwrap();
        routes.clone().oneshot(request).await.unwrap().status()
    };
    let (_running, ..) = serve(service, Faults::none(), &runtime).await;
    assert_eq!(ready().await, StatusCode::OK);
    go.send(()).unwrap();
    let broken = async {
        while ready().await == StatusCode::OK {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), broken).await.unwrap();
}

#[tokio::test]
async fn an_optional_dependency_that_is_down_shows_and_leaves_the_process_ready() {
    let answer = async |needed, optional| {
        let probes = vec![
            Probe::new("store", move || async move { needed }),
            Probe::new("cache", move || async move { optional }).optional(),
        ];
        let routes = Health::new(probes).routes::<()>();
        let request = http::Request::get("/health/ready").body(Body::empty()).unwrap();
        let answer = routes.oneshot(request).await.unwrap();
        let status = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 16).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
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
