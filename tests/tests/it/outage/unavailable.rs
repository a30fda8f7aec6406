//! The responses while an engine is unavailable, and how long they take.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cartwright::http::{Customer, HttpResponse};
use http::{Method, StatusCode};
use serde_json::json;
use system_tests::{books, engine_set::Action, shops::wait_for};
use testing::Engine;
use tokio::time::Instant;

use super::{Fixture, load::retry_after};

/// The gateway's longest deadline for these requests: a checkout has 5 s, and 6 s more to answer.
const DEADLINE: Duration = Duration::from_secs(11);

/// An engine, the suffix of its name in `/health/ready`, and the requests that need the engine.
struct EngineCase {
    engine: Engine,
    probe: &'static str,
    requests: &'static [(&'static str, &'static str)],
}

const CASES: [EngineCase; 2] = [
    EngineCase {
        engine: Engine::PostgreSql,
        probe: "-postgresql",
        requests: &[
            ("GET", "/api/v1/products"),
            ("GET", "/api/v1/products/2"),
            ("POST", "/api/v1/cart/items"),
            ("POST", "/api/v1/checkout"),
            ("GET", "/api/v1/checkout/00000000-0000-0000-0000-000000000001"),
            ("GET", "/api/v1/orders"),
            ("GET", "/api/v1/orders/00000000-0000-0000-0000-000000000001"),
        ],
    },
    EngineCase {
        engine: Engine::MongoDb,
        probe: "-mongodb",
        requests: &[
            ("GET", "/api/v1/cart"),
            ("POST", "/api/v1/cart/items"),
            ("PUT", "/api/v1/cart/items/2"),
            ("DELETE", "/api/v1/cart/items/2"),
            ("DELETE", "/api/v1/cart"),
            ("POST", "/api/v1/checkout"),
        ],
    },
];

async fn ask(customer: &Customer, (method, path): (&str, &str)) -> Result<(HttpResponse, Duration)> {
    let body = match path.rsplit('/').next() {
        Some("items") => Some(json!({"product_id": 2, "quantity": 1})),
        Some("checkout") => Some(json!({"idempotency_key": "k"})),
        _ if method == "PUT" => Some(json!({"quantity": 1})),
        _ => None,
    };
    let began = Instant::now();
    let reply = customer.call(method.parse::<Method>()?, path, body.as_ref()).await?;
    Ok((reply, began.elapsed()))
}

impl EngineCase {
    /// Sends all requests concurrently, each as a new customer, of whom no cache has a copy. Returns the wrong responses.
    async fn ask(&self, fixture: &Fixture, state: &str) -> Result<Vec<String>> {
        let asked = self.requests.iter().zip(0..).map(|(request, number)| async move {
            let customer = fixture.shop.customer(&format!("{state}-{:?}-{number}", self.engine))?;
            anyhow::Ok((request, ask(&customer, *request).await?))
        });
        let mut wrong = Vec::new();
        for ((method, path), (reply, took)) in futures::future::try_join_all(asked).await? {
            println!(
                "{:?} {state}: {method} {path}: {} after {took:?}",
                self.engine, reply.status
            );
            let is_expected = reply.status == StatusCode::SERVICE_UNAVAILABLE && retry_after(&reply).is_some();
            if !is_expected || took > DEADLINE {
                wrong.push(format!(
                    "{:?} {state}: {method} {path} after {took:?}: {reply:?}",
                    self.engine
                ));
            }
        }
        Ok(wrong)
    }

    /// Waits until readiness reports this engine alone as down; the process stays live.
    async fn wait_until_reported_down(&self, fixture: &Fixture) -> Result<()> {
        let seen = wait_for("readiness names the engine", async || {
            let (status, health) = fixture.health().await?;
            let dependencies = health["dependencies"].as_object().context("no dependencies")?;
            let is_named = dependencies
                .iter()
                .all(|(name, state)| (state == "down") == name.ends_with(self.probe));
            Ok((status == StatusCode::SERVICE_UNAVAILABLE && is_named).then_some(health))
        })
        .await?;
        let named = seen["dependencies"].as_object().into_iter().flatten();
        ensure!(named.into_iter().any(|(name, _)| name.ends_with(self.probe)), "{seen}");
        let alive = fixture.shop.customer("anybody")?.get("/health/live").await?;
        ensure!(alive.status == StatusCode::OK, "not alive: {alive:?}");
        Ok(())
    }
}

on_engines! { requests_that_need_an_unavailable_engine_get_503_with_retry_after }

async fn requests_that_need_an_unavailable_engine_get_503_with_retry_after() -> Result<()> {
    let fixture = Fixture::open().await?;
    let mut wrong = Vec::new();
    for case in CASES {
        for (state, leave, come_back) in [
            ("stopped", Action::Stop, Action::Start),
            ("hung", Action::Pause, Action::Resume),
        ] {
            fixture.control(case.engine, leave).await?;
            wrong.extend(case.ask(&fixture, state).await?);
            case.wait_until_reported_down(&fixture)
                .await
                .with_context(|| format!("{:?} {state}", case.engine))?;
            fixture.control(case.engine, come_back).await?;
            fixture.wait_until_ready().await?;
            let customer = fixture.shop.customer(&format!("after-{:?}-{state}", case.engine))?;
            let (added, _) = ask(&customer, ("POST", "/api/v1/cart/items")).await?;
            let (bought, _) = ask(&customer, ("POST", "/api/v1/checkout")).await?;
            if added.status != StatusCode::CREATED || bought.json()["status"] != "COMPLETED" {
                wrong.push(format!(
                    "{:?} is back after it was {state}: {added:?} {bought:?}",
                    case.engine
                ));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    books::check(&fixture.home).await
}
