//! What customers are told while an engine that they need is away, and for how long they wait for it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cartwright::http::{Customer, Reply};
use http::{Method, StatusCode};
use serde_json::json;
use system_tests::{engine_set::Action, shops::until};
use testing::Engine;
use tokio::time::Instant;

use super::{World, load::pause_of};

/// The longest that the gateway gives any of these requests: a purchase has five seconds, and six to say so.
const DEADLINE: Duration = Duration::from_secs(11);

/// An engine, what `/health/ready` calls it, and what needs it.
struct Need {
    engine: Engine,
    probe: &'static str,
    requests: &'static [(&'static str, &'static str)],
}

const NEEDS: [Need; 2] = [
    Need {
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
    Need {
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

async fn ask(customer: &Customer, (method, path): (&str, &str)) -> Result<(Reply, Duration)> {
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

impl Need {
    /// Asks for everything at once, each as a customer of whom no copy is at hand; returns what was wrong.
    async fn ask(&self, world: &World, state: &str) -> Result<Vec<String>> {
        let asked = self.requests.iter().zip(0..).map(|(request, number)| async move {
            let customer = world.shop.customer(&format!("{state}-{:?}-{number}", self.engine))?;
            anyhow::Ok((request, ask(&customer, *request).await?))
        });
        let mut wrong = Vec::new();
        for ((method, path), (reply, took)) in futures::future::try_join_all(asked).await? {
            println!(
                "{:?} {state}: {method} {path}: {} after {took:?}",
                self.engine, reply.status
            );
            let is_told = reply.status == StatusCode::SERVICE_UNAVAILABLE && pause_of(&reply).is_some();
            if !is_told || took > DEADLINE {
                wrong.push(format!(
                    "{:?} {state}: {method} {path} after {took:?}: {reply:?}",
                    self.engine
                ));
            }
        }
        Ok(wrong)
    }

    /// Waits until readiness names this engine, and it alone; the process lives on.
    async fn be_missed(&self, world: &World) -> Result<()> {
        let seen = until("readiness names the engine", async || {
            let (status, health) = world.health().await?;
            let dependencies = health["dependencies"].as_object().context("no dependencies")?;
            let is_named = dependencies
                .iter()
                .all(|(name, state)| (state == "down") == name.ends_with(self.probe));
            Ok((status == StatusCode::SERVICE_UNAVAILABLE && is_named).then_some(health))
        })
        .await?;
        let named = seen["dependencies"].as_object().into_iter().flatten();
        ensure!(named.into_iter().any(|(name, _)| name.ends_with(self.probe)), "{seen}");
        let alive = world.shop.customer("anybody")?.get("/health/live").await?;
        ensure!(alive.status == StatusCode::OK, "not alive: {alive:?}");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_need_an_unavailable_engine_get_503_with_retry_after() -> Result<()> {
    let Some(world) = World::open().await? else {
        return Ok(());
    };
    let mut wrong = Vec::new();
    for need in NEEDS {
        for (state, leave, come_back) in [
            ("stopped", Action::Stop, Action::Start),
            ("hung", Action::Pause, Action::Resume),
        ] {
            world.tell(need.engine, leave).await?;
            wrong.extend(need.ask(&world, state).await?);
            need.be_missed(&world)
                .await
                .with_context(|| format!("{:?} {state}", need.engine))?;
            world.tell(need.engine, come_back).await?;
            world.be_ready().await?;
            let customer = world.shop.customer(&format!("after-{:?}-{state}", need.engine))?;
            let (added, _) = ask(&customer, ("POST", "/api/v1/cart/items")).await?;
            let (bought, _) = ask(&customer, ("POST", "/api/v1/checkout")).await?;
            if added.status != StatusCode::CREATED || bought.json()["status"] != "COMPLETED" {
                wrong.push(format!(
                    "{:?} is back after it was {state}: {added:?} {bought:?}",
                    need.engine
                ));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    world.settle_and_balance().await
}
