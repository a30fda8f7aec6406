use std::{sync::Arc, time::Duration};

use axum::{body::Body, http::Method};
use tokio::sync::Notify;

use crate::{
    fakes::Fault,
    shop::{Setup, Shop, anonymous, signed_in},
};

#[tokio::test]
async fn a_request_over_the_limit_is_turned_away_at_once() {
    let shop = Shop::with(Setup {
        max_in_flight: 2,
        ..Setup::default()
    })
    .await;
    let answer = Arc::new(Notify::new());
    shop.fakes.script().fault = Some(Fault::Wait(answer.clone()));
    let meanwhile = async {
        shop.fakes.entered().await;
        shop.fakes.entered().await;
        for (method, path) in [(Method::GET, "/api/v1/products"), (Method::POST, "/api/v1/checkout")] {
            let reply = shop.send(signed_in(method, path, "")).await;
            reply.problem(503, "service_unavailable", "SERVICE_UNAVAILABLE");
            assert_eq!(reply.header("retry-after"), Some("1"));
        }
        // A busy process is a live one, and a path that is not there takes no place.
        assert_eq!(shop.send(anonymous(Method::GET, "/health", "")).await.status, 200);
        assert_eq!(shop.get("/nothing").await.status, 404);
        answer.notify_waiters();
    };
    let (first, second, ()) = tokio::join!(shop.get("/api/v1/orders"), shop.get("/api/v1/products"), meanwhile);
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (200, 200));
    shop.fakes.script().fault = None;
    assert_eq!(shop.get("/api/v1/orders").await.status, 200);
}

#[tokio::test]
async fn a_client_that_goes_away_gives_its_place_back() {
    let shop = Shop::with(Setup {
        max_in_flight: 1,
        ..Setup::default()
    })
    .await;
    shop.fakes.script().fault = Some(Fault::Hang);
    tokio::select! {
        _ = shop.get("/api/v1/orders") => panic!("answered although the service hangs"),
        () = shop.fakes.entered() => {}
    }
    shop.fakes.script().fault = None;
    assert_eq!(shop.get("/api/v1/orders").await.status, 200);
}

#[tokio::test]
async fn a_body_that_never_ends_is_a_timeout() {
    let shop = Shop::with(Setup {
        request_timeout: Duration::from_millis(30),
        ..Setup::default()
    })
    .await;
    let never = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let request = signed_in(Method::POST, "/api/v1/cart/items", Body::from_stream(never));
    shop.send(request).await.problem(504, "timeout", "TIMEOUT");
}
