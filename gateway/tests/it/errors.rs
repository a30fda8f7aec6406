//! Failures of the services, and `docs/errors.md`.

use std::time::Duration;

use axum::http::Method;
use gateway::problem::problem_type;
use proto::{Reason, status::Refusal};
use tonic::{Code, Status};

use crate::{
    fakes::Fault,
    shop::{Setup, Shop},
};

const ERRORS: &str = include_str!("../../../docs/errors.md");

#[tokio::test]
async fn an_unreachable_service_is_unavailable() {
    let shop = Shop::without_services();
    let key = r#"{"idempotency_key":"k"}"#;
    for (method, path, body) in [
        (Method::GET, "/api/v1/products", ""),
        (Method::GET, "/api/v1/cart", ""),
        (Method::POST, "/api/v1/checkout", key),
        (Method::GET, "/api/v1/orders", ""),
    ] {
        let reply = shop.json(method, path, body).await;
        let problem = reply.problem(503, "service_unavailable", "SERVICE_UNAVAILABLE");
        assert_eq!(problem["detail"], "Temporarily unavailable, try again");
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
}

#[tokio::test]
async fn a_service_that_has_stopped_is_unavailable() {
    let mut shop = Shop::open().await;
    assert_eq!(shop.get("/api/v1/orders").await.status, 200);
    shop.stop_peers().await;
    for _ in 0..3 {
        let reply = shop.get("/api/v1/orders").await;
        reply.problem(503, "service_unavailable", "SERVICE_UNAVAILABLE");
    }
}

#[tokio::test]
async fn a_service_that_hangs_is_a_timeout() {
    let short = Duration::from_millis(30);
    let call_timeout = Shop::with(Setup {
        deadline: short,
        ..Setup::default()
    })
    .await;
    let request_timeout = Shop::with(Setup {
        request_timeout: short,
        ..Setup::default()
    })
    .await;
    for shop in [call_timeout, request_timeout] {
        shop.fakes.script().fault = Some(Fault::Hang);
        let problem = shop.get("/api/v1/orders").await.problem(504, "timeout", "TIMEOUT");
        assert_eq!(problem["detail"], "No answer in time");
    }
}

#[tokio::test]
async fn a_service_that_panics_is_an_internal_error_without_the_panic_message() {
    let shop = Shop::open().await;
    shop.fakes.script().fault = Some(Fault::Panic);
    let reply = shop.get("/api/v1/orders").await;
    let problem = reply.problem(500, "internal_error", "INTERNAL");
    assert_eq!(problem["detail"], "Internal error");
    assert!(!reply.body.contains("SELECT"));
}

#[tokio::test]
async fn an_answer_without_its_message_is_an_internal_error() {
    let shop = Shop::open().await;
    let key = r#"{"idempotency_key":"k"}"#;
    let item = r#"{"product_id":1,"quantity":1}"#;
    let id = "6f9619ff-8b86-5d01-b42d-00cf4fc964ff";
    for (method, path, body) in [
        (Method::GET, "/api/v1/products/1", ""),
        (Method::GET, "/api/v1/cart", ""),
        (Method::POST, "/api/v1/cart/items", item),
        (Method::PUT, "/api/v1/cart/items/1", r#"{"quantity":1}"#),
        (Method::DELETE, "/api/v1/cart/items/1", ""),
        (Method::DELETE, "/api/v1/cart", ""),
        (Method::POST, "/api/v1/checkout", key),
        (Method::GET, &format!("/api/v1/checkout/{id}"), ""),
        (Method::GET, &format!("/api/v1/orders/{id}"), ""),
    ] {
        let reply = shop.json(method, path, body).await;
        reply.problem(500, "internal_error", "INTERNAL");
    }
}

#[tokio::test]
async fn no_internal_text_reaches_a_client() {
    let shop = Shop::open().await;
    let inner = "connection to 10.0.0.7:5432 refused";
    let statuses = [
        (Status::internal(inner), 500),
        (Status::unknown(inner), 500),
        (Status::data_loss(inner), 500),
        (Status::unavailable(inner), 503),
        (Status::aborted(inner), 503),
        (Status::cancelled(inner), 504),
        (Status::deadline_exceeded(inner), 504),
        (Refusal::new(Reason::Internal, inner).into(), 500),
        (Refusal::new(Reason::ServiceUnavailable, inner).into(), 503),
        (Refusal::new(Reason::Timeout, inner).into(), 504),
    ];
    for (status, expected) in statuses {
        let code = status.code();
        shop.fakes.refuse(status);
        let reply = shop.get("/api/v1/orders").await;
        assert_eq!(reply.status, expected, "{code:?}");
        assert!(!reply.body.contains("10.0.0.7"), "{}", reply.body);
    }
}

#[test]
fn a_status_without_a_known_reason_is_shown_without_its_text() {
    use axum::response::IntoResponse;
    for (code, expected) in [
        (Code::InvalidArgument, 400),
        (Code::Unauthenticated, 401),
        (Code::PermissionDenied, 403),
        (Code::NotFound, 500),
        (Code::Unavailable, 503),
        (Code::DeadlineExceeded, 504),
    ] {
        let problem = gateway::problem::Problem::from(Status::new(code, "of a proxy"));
        assert!(!format!("{problem:?}").contains("proxy"));
        assert_eq!(problem.into_response().status(), expected, "{code:?}");
    }
    // A connection that broke during a call.
    let broken = Status::from_error(std::io::Error::from(std::io::ErrorKind::BrokenPipe).into());
    assert_eq!(gateway::problem::Problem::from(broken).into_response().status(), 503);
}

#[tokio::test]
async fn every_reason_has_its_own_status_and_code() {
    let shop = Shop::open().await;
    for reason in Reason::ALL {
        shop.fakes.refuse(Refusal::new(*reason, "the detail"));
        let row = problem_type(*reason);
        let problem = shop
            .get("/api/v1/orders")
            .await
            .problem(row.status.as_u16(), row.code, reason.as_str());
        let expected = if row.status.is_server_error() {
            row.title
        } else {
            "the detail"
        };
        assert_eq!(
            (&problem["title"], &problem["detail"]),
            (&row.title.into(), &expected.into())
        );
    }
}

/// `InvalidArgument` → `INVALID_ARGUMENT`.
fn grpc_name(code: Code) -> String {
    let mut name = String::new();
    for c in format!("{code:?}").chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}

#[test]
fn the_errors_page_has_every_reason_once_as_in_the_table() {
    let headings: Vec<_> = ERRORS.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let reasons: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(headings, reasons);
    for (reason, section) in Reason::ALL.iter().zip(ERRORS.split("\n## ").skip(1)) {
        let row = problem_type(*reason);
        let line = format!(
            "HTTP {} `{}` · gRPC `{}`",
            row.status.as_u16(),
            row.code,
            grpc_name(reason.code())
        );
        assert_eq!(section.lines().nth(2), Some(line.as_str()), "{}", reason.as_str());
        for part in ["**What happened.** ", "**What to do.** "] {
            let text = section.lines().find_map(|line| line.strip_prefix(part));
            assert!(text.is_some_and(|text| text.len() > 10), "{} {part}", reason.as_str());
        }
    }
}
