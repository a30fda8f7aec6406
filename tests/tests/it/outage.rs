//! Engines that go away, hang and forget under load: nothing is lost, nothing is wrong afterwards, and nobody mends anything.

mod absence;
mod load;
mod order;
mod redis;

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use http::StatusCode;
use proto::inventory::v1::{AddStockRequest, inventory_service_client::InventoryServiceClient};
use serde_json::{Value, json};
use system_tests::{
    books,
    engine_set::{Action, EngineSet},
    home::{Home, Profile},
    process::ShopProcess,
    shops::until,
};
use testing::Engine;
use tokio::time::Instant;

use load::Load;
use order::Numbers;

const BINARY: &str = env!("CARGO_BIN_EXE_shop");
/// More than anybody buys in the meantime.
const STOCK: i64 = 1_000_000;
/// Purchases before, between and after faults.
const SOME: u64 = 60;
const RESTARTS: usize = 3;
/// Customers who cannot wait.
const HASTY: usize = 10;
/// How long Kafka is away. Purchases are made all the time.
const KAFKA_AWAY: Duration = Duration::from_mins(2);
/// How long carts may take to catch up with that, on any machine: thousands of purchases, one command of MongoDB's at a time.
const CATCH_UP: Duration = Duration::from_mins(4);
/// How long a shop may take to sell again when an engine is back, on any machine.
const RECOVERY: Duration = Duration::from_secs(15);

/// A shop in a process of its own, on engines of its own. What is declared first goes first.
struct World {
    shop: ShopProcess,
    home: Home,
    engines: EngineSet,
}

impl World {
    /// None when there are no engines: then that is said.
    async fn open() -> Result<Option<Self>> {
        if !Profile::Engines.is_there() {
            return Ok(None);
        }
        let engines = EngineSet::up().await?;
        let home = Home::on(&engines).await?;
        let shop = ShopProcess::open(home.command(Path::new(BINARY))).await?;
        let inventory = format!("http://{}", shop.addresses["inventory"]);
        let mut inventory = InventoryServiceClient::connect(inventory).await?;
        for product_id in 2..6 {
            let goods = AddStockRequest {
                product_id,
                quantity: STOCK,
                idempotency_key: format!("enough of {product_id}"),
            };
            inventory.add_stock(goods).await?;
        }
        Ok(Some(Self { shop, home, engines }))
    }

    async fn tell(&self, engine: Engine, action: Action) -> Result<()> {
        self.engines.engine(engine, action).await
    }

    /// What `/health/ready` says.
    async fn health(&self) -> Result<(StatusCode, Value)> {
        let reply = self.shop.health().await?;
        Ok((reply.status, reply.json()))
    }

    /// Waits until everything is up.
    async fn be_ready(&self) -> Result<()> {
        until("all is up", async || {
            let (status, health) = self.health().await?;
            Ok((status == StatusCode::OK && health["status"] == "ok").then_some(()))
        })
        .await
    }

    async fn settle_and_balance(&self) -> Result<()> {
        books::settle(&self.home).await?;
        books::balance(&self.home).await
    }

    /// What was acknowledged is there, and the books agree.
    async fn check(&self, load: &Load<'_>) -> Result<()> {
        load.ask_all_again().await?;
        self.settle_and_balance().await?;
        load.look_into_carts().await
    }
}

/// Restarts an engine again and again; returns how long it took each time until purchases were made again.
async fn restart(world: &World, load: &Load<'_>, engine: Engine) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..RESTARTS {
        load.purchases(SOME).await?;
        world.tell(engine, Action::Restart).await?;
        times.push(load.purchases(SOME / 4).await?);
    }
    load.purchases(SOME).await?;
    Ok(times)
}

async fn survive_restarts_of(engine: Engine) -> Result<()> {
    let Some(world) = World::open().await? else {
        return Ok(());
    };
    let load = Load::on(&world.shop);
    let times = load.during(restart(&world, &load, engine)).await?;
    println!(
        "{engine:?} restarted {RESTARTS} times; it sells again after {times:?}; {}",
        load.summary()
    );
    ensure!(
        times.iter().all(|time| *time < RECOVERY),
        "it sells again after {times:?}"
    );
    world.check(&load).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_survives_restarts_of_postgresql() -> Result<()> {
    survive_restarts_of(Engine::PostgreSql).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_survives_restarts_of_mongodb() -> Result<()> {
    survive_restarts_of(Engine::MongoDb).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_sells_without_kafka_and_delivers_every_event_later() -> Result<()> {
    let Some(world) = World::open().await? else {
        return Ok(());
    };
    let load = Load::on(&world.shop);
    let mut numbers = Numbers::begin(&world.home).await?;
    let away = load.during(async {
        load.purchases(SOME).await?;
        numbers.next().await?;
        world.tell(Engine::Kafka, Action::Stop).await?;
        ask_under_many_keys(&world).await?;
        let since = Instant::now();
        while since.elapsed() < KAFKA_AWAY {
            load.purchases(SOME).await?;
            numbers.next().await?;
            let (status, health) = world.health().await?;
            ensure!(
                status == StatusCode::OK && health["status"] == "degraded" && health["dependencies"]["kafka"] == "down",
                "without Kafka: {status} {health}"
            );
        }
        let meanwhile = load.notes(since);
        world.tell(Engine::Kafka, Action::Start).await?;
        let began = Instant::now();
        world.be_ready().await?;
        load.purchases(SOME).await?;
        numbers.next().await?;
        Ok((meanwhile, began))
    });
    let (meanwhile, began) = away.await?;
    println!(
        "without Kafka for {KAFKA_AWAY:?}: {} answers; in all {}",
        meanwhile.len(),
        load.summary()
    );
    let failed = load.failures();
    if !failed.is_empty() {
        let (_, said) = world.shop.stop().await?;
        bail!("requests failed for want of Kafka: {failed:?}; the shop says\n{said}");
    }
    books::settle_within(&world.home, CATCH_UP)
        .await
        .context("Kafka is back")?;
    println!("every event has arrived {:?} after Kafka was back", began.elapsed());
    println!("{} numbers have arrived, in order per key", numbers.check().await?);
    let sql = "SELECT user_id, count(*) FROM checkouts WHERE user_id LIKE 'hasty-%' AND state = 'COMPLETED' GROUP BY 1";
    let bought: Vec<(String, i64)> = world.home.rows("checkout", sql).await?;
    ensure!(
        bought.len() == HASTY && bought.iter().all(|(_, purchases)| *purchases == 1),
        "{bought:?}"
    );
    world.check(&load).await
}

/// Customers who put one piece into their cart and ask for it under eight keys, half of them at once. No event tells their
/// carts meanwhile.
async fn ask_under_many_keys(world: &World) -> Result<()> {
    for n in 0..HASTY {
        let customer = world.shop.customer(&format!("hasty-{n}"))?;
        let item = json!({"product_id": 2, "quantity": 1});
        ensure!(customer.post("/api/v1/cart/items", &item).await?.status == StatusCode::CREATED);
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
