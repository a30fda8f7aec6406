use std::{sync::Arc, task::Poll, time::Duration};

use axum::{
    body::Body,
    http::{Method, Request, header},
};
use futures::{future::join_all, stream::FuturesUnordered};
use proto::cart::v1::Cart;
use tokio::sync::Notify;

use crate::{
    fakes::{Fault, usd},
    shop::{Setup, Shop, USER, anonymous, bearer_of, signed_in},
};

#[tokio::test]
async fn a_request_over_the_limit_is_refused_at_once() {
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
        // Health and unknown paths need no permit.
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
async fn a_client_that_goes_away_releases_its_permit() {
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

fn add(body: Body, user: &str) -> Request<Body> {
    let mut request = signed_in(Method::POST, "/api/v1/cart/items", body);
    let token = bearer_of(user).parse().unwrap();
    request.headers_mut().insert(header::AUTHORIZATION, token);
    request
}

fn endless() -> Body {
    Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>())
}

/// A body in pieces, one per second.
fn slow(pieces: usize, size: usize) -> Body {
    let seconds = tokio::time::interval(Duration::from_secs(1));
    Body::from_stream(futures::stream::unfold(
        (seconds, 0),
        move |(mut seconds, sent)| async move {
            if sent == pieces {
                return None;
            }
            seconds.tick().await;
            Some((Ok::<_, std::io::Error>(vec![b' '; size]), (seconds, sent + 1)))
        },
    ))
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_times_out_after_seconds() {
    let shop = Shop::open().await;
    let began = tokio::time::Instant::now();
    let reply = shop.send(add(endless(), USER)).await;
    reply.problem(408, "request_timeout", "REQUEST_TIMEOUT");
    assert_eq!(reply.header("connection"), Some("close"));
    let taken = began.elapsed();
    assert!(
        (Duration::from_secs(5)..Duration::from_secs(6)).contains(&taken),
        "{taken:?}"
    );
    assert!(shop.fakes.script().calls.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_body_times_out_when_it_is_too_slow_and_not_when_it_is_long() {
    let shop = Shop::open().await;
    // 8 KiB per second is just fast enough.
    let reply = shop.send(add(slow(8, 8 * 1024), USER)).await;
    reply.problem(400, "invalid_request", "INVALID_REQUEST");
    for size in [1, 128, 2048] {
        let reply = shop.send(add(slow(10_000, size), USER)).await;
        reply.problem(408, "request_timeout", "REQUEST_TIMEOUT");
    }
    // Discarded bytes give no time.
    let began = tokio::time::Instant::now();
    let reply = shop.send(add(slow(10_000, 16 * 1024), USER)).await;
    reply.problem(408, "request_timeout", "REQUEST_TIMEOUT");
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn bodies_that_never_end_take_no_permits_from_others() {
    let shop = Shop::with(Setup {
        max_in_flight: 8,
        max_per_caller: 2,
        ..Setup::default()
    })
    .await;
    shop.fakes.script().cart = Some(Cart {
        total_price: usd(0),
        ..Cart::default()
    });
    let body = r#"{"product_id":1,"quantity":2}"#;
    let waiting = FuturesUnordered::new();
    // Two bodies wait; the others exceed the limit of one customer and are refused at once.
    for _ in 0..20 {
        let mut sent = Box::pin(shop.send(add(endless(), "greedy")));
        match futures::poll!(&mut sent) {
            Poll::Pending => waiting.push(sent),
            Poll::Ready(reply) => {
                reply.problem(429, "rate_limit_exceeded", "RATE_LIMIT_EXCEEDED");
                assert_eq!(reply.header("retry-after"), Some("1"));
            }
        }
    }
    assert_eq!(waiting.len(), 2);
    for _ in 0..20 {
        assert_eq!(shop.send(add(body.into(), "patient")).await.status, 200);
        // The greedy customer's requests without a body still get permits.
        let mut request = anonymous(Method::GET, "/api/v1/cart", "");
        let token = bearer_of("greedy").parse().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, token);
        assert_eq!(shop.send(request).await.status, 200);
    }
    // A client that goes away releases its permit.
    drop(waiting);
    assert_eq!(shop.send(add(body.into(), "greedy")).await.status, 200);
}

#[tokio::test]
async fn one_caller_gets_only_a_part_of_the_permits() {
    let shop = Shop::with(Setup {
        max_in_flight: 4,
        max_per_caller: 2,
        ..Setup::default()
    })
    .await;
    let answer = Arc::new(Notify::new());
    shop.fakes.script().fault = Some(Fault::Wait(answer.clone()));
    let cart = |user: &str| {
        let mut request = anonymous(Method::GET, "/api/v1/orders", "");
        let token = bearer_of(user).parse().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, token);
        shop.send(request)
    };
    let meanwhile = async {
        for _ in 0..2 {
            shop.fakes.entered().await;
        }
        cart("greedy")
            .await
            .problem(429, "rate_limit_exceeded", "RATE_LIMIT_EXCEEDED");
        let others = async {
            for _ in 0..2 {
                shop.fakes.entered().await;
            }
            // Now all permits are in use.
            cart("third")
                .await
                .problem(503, "service_unavailable", "SERVICE_UNAVAILABLE");
            answer.notify_waiters();
        };
        let (one, two, ()) = tokio::join!(cart("other"), cart("another"), others);
        assert_eq!((one.status.as_u16(), two.status.as_u16()), (200, 200));
    };
    let (one, two, ()) = tokio::join!(cart("greedy"), cart("greedy"), meanwhile);
    assert_eq!((one.status.as_u16(), two.status.as_u16()), (200, 200));
    shop.fakes.script().fault = None;
    assert_eq!(cart("greedy").await.status, 200);
}

#[tokio::test]
async fn searches_have_few_permits_and_take_none_from_other_requests() {
    let shop = Shop::open().await;
    let answer = Arc::new(Notify::new());
    shop.fakes.script().fault = Some(Fault::Wait(answer.clone()));
    let searches = join_all((0..16).map(|_| shop.get("/api/v1/products?q=desk")));
    let meanwhile = async {
        for _ in 0..16 {
            shop.fakes.entered().await;
        }
        for query in ["q=lamp", "page_size=2&q=lamp", "%71=lamp"] {
            let reply = shop.get(&format!("/api/v1/products?{query}")).await;
            reply.problem(429, "rate_limit_exceeded", "RATE_LIMIT_EXCEEDED");
            assert_eq!(reply.header("retry-after"), Some("1"));
        }
        shop.fakes.script().fault = None;
        for path in ["/api/v1/products", "/api/v1/products?page_size=2", "/api/v1/orders"] {
            assert_eq!(shop.get(path).await.status, 200, "{path}");
        }
        answer.notify_waiters();
    };
    let (found, ()) = tokio::join!(searches, meanwhile);
    assert!(found.iter().all(|reply| reply.status == 200));
    assert_eq!(shop.get("/api/v1/products?q=lamp").await.status, 200);
}
