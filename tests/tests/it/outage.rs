//! Engines stop, hang and lose data under load: no purchase is lost, and the shop recovers by itself.

mod load;
mod ordering;
mod redis;
mod unavailable;

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use http::StatusCode;
use serde_json::{Value, json};
use system_tests::{
    books,
    engine_set::{Action, EngineSet},
    home::Home,
    process::ShopProcess,
    shopping::{add, stock_up},
    shops::until,
};
use testing::Engine;
use tokio::time::Instant;

use crate::BINARY;
use load::Load;
use ordering::NumberedEvents;

/// Purchases before, between and after faults.
const BATCH: u64 = 60;
const RESTARTS: usize = 3;
/// Customers who check out one cart under many keys.
const IMPATIENT: usize = 10;
/// How long Kafka is down, while customers buy.
const KAFKA_OUTAGE: Duration = Duration::from_mins(2);
/// How long carts may take to catch up afterwards, on any machine: thousands of purchases, one MongoDB command at a time.
const CATCH_UP: Duration = Duration::from_mins(4);
/// How long a shop may take to sell again after an engine restarts, on any machine.
const RECOVERY: Duration = Duration::from_secs(15);

/// A shop in another process on engines of its own. The fields are dropped in this order.
struct Fixture {
    shop: ShopProcess,
    home: Home,
    engines: EngineSet,
}

impl Fixture {
    async fn open() -> Result<Self> {
        let engines = EngineSet::up().await?;
        let home = Home::on(&engines).await?;
        let shop = ShopProcess::open(home.command(BINARY)).await?;
        stock_up(shop.addresses["inventory"]).await?;
        Ok(Self { shop, home, engines })
    }

    async fn control(&self, engine: Engine, action: Action) -> Result<()> {
        self.engines.engine(engine, action).await
    }

    /// The status and the body of `/health/ready`.
    async fn health(&self) -> Result<(StatusCode, Value)> {
        let reply = self.shop.health().await?;
        Ok((reply.status, reply.json()))
    }

    /// Waits until every dependency is up.
    async fn wait_until_ready(&self) -> Result<()> {
        until("all is up", async || {
            let (status, health) = self.health().await?;
            Ok(status == StatusCode::OK && health["status"] == "ok")
        })
        .await
    }

    /// Checks that acknowledged purchases are there, and that the books balance.
    async fn check(&self, load: &Load<'_>) -> Result<()> {
        load.check_replays().await?;
        books::check(&self.home).await?;
        load.check_carts().await
    }
}

/// Restarts an engine several times; returns how long each time the shop took to sell again.
async fn restart(fixture: &Fixture, load: &Load<'_>, engine: Engine) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..RESTARTS {
        load.purchases(BATCH).await?;
        fixture.control(engine, Action::Restart).await?;
        times.push(load.purchases(BATCH / 4).await?);
    }
    load.purchases(BATCH).await?;
    Ok(times)
}

async fn check_restarts_of(engine: Engine) -> Result<()> {
    let fixture = Fixture::open().await?;
    let load = Load::on(&fixture.shop);
    let times = load.during(restart(&fixture, &load, engine)).await?;
    println!(
        "{engine:?} restarted {RESTARTS} times; it sells again after {times:?}; {}",
        load.summary()
    );
    ensure!(
        times.iter().all(|time| *time < RECOVERY),
        "it sells again after {times:?}"
    );
    fixture.check(&load).await
}

on_engines! {
    a_shop_sells_without_kafka_and_delivers_every_event_later,
    a_shop_survives_restarts_of_postgresql,
    a_shop_survives_restarts_of_mongodb,
}

async fn a_shop_survives_restarts_of_postgresql() -> Result<()> {
    check_restarts_of(Engine::PostgreSql).await
}

async fn a_shop_survives_restarts_of_mongodb() -> Result<()> {
    check_restarts_of(Engine::MongoDb).await
}

async fn a_shop_sells_without_kafka_and_delivers_every_event_later() -> Result<()> {
    let fixture = Fixture::open().await?;
    let load = Load::on(&fixture.shop);
    let mut numbers = NumberedEvents::begin(&fixture.home).await?;
    let outage = load.during(async {
        load.purchases(BATCH).await?;
        numbers.next().await?;
        fixture.control(Engine::Kafka, Action::Stop).await?;
        check_out_under_many_keys(&fixture).await?;
        let since = Instant::now();
        while since.elapsed() < KAFKA_OUTAGE {
            load.purchases(BATCH).await?;
            numbers.next().await?;
            let (status, health) = fixture.health().await?;
            ensure!(
                status == StatusCode::OK && health["status"] == "degraded" && health["dependencies"]["kafka"] == "down",
                "without Kafka: {status} {health}"
            );
        }
        let meanwhile = load.responses_since(since);
        fixture.control(Engine::Kafka, Action::Start).await?;
        let began = Instant::now();
        fixture.wait_until_ready().await?;
        load.purchases(BATCH).await?;
        numbers.next().await?;
        Ok((meanwhile, began))
    });
    let (meanwhile, began) = outage.await?;
    println!(
        "without Kafka for {KAFKA_OUTAGE:?}: {} answers; in all {}",
        meanwhile.len(),
        load.summary()
    );
    let failed = load.failures();
    if !failed.is_empty() {
        let (_, stderr) = fixture.shop.stop().await?;
        bail!("requests failed without Kafka: {failed:?}; the log:\n{stderr}");
    }
    books::wait_until_idle_within(&fixture.home, CATCH_UP)
        .await
        .context("Kafka is back")?;
    println!("every event has arrived {:?} after Kafka was back", began.elapsed());
    println!("{} numbers have arrived, in order per key", numbers.check().await?);
    let sql =
        "SELECT user_id, count(*) FROM checkouts WHERE user_id LIKE 'impatient-%' AND state = 'COMPLETED' GROUP BY 1";
    let bought: Vec<(String, i64)> = fixture.home.rows("checkout", sql).await?;
    ensure!(
        bought.len() == IMPATIENT && bought.iter().all(|(_, purchases)| *purchases == 1),
        "{bought:?}"
    );
    fixture.check(&load).await
}

/// Customers put one piece into their carts and check out under eight keys, four of them concurrently. No event reaches
/// the carts meanwhile.
async fn check_out_under_many_keys(fixture: &Fixture) -> Result<()> {
    for n in 0..IMPATIENT {
        let customer = fixture.shop.customer(&format!("impatient-{n}"))?;
        add(&customer, 2, 1).await?;
        let ask = |key: usize| {
            let (customer, body) = (&customer, json!({"idempotency_key": format!("k{key}")}));
            async move { customer.post("/api/v1/checkout", &body).await }
        };
        try_join_all((0..4).map(ask)).await?;
        for key in 4..8 {
            ask(key).await?;
        }
    }
    Ok(())
}
