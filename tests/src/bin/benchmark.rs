//! Measures a shop, on embedded stores or real engines, through its public interfaces, and prints. `docs/benchmarks.md` says how to run it and
//! what it printed.

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::ensure;
use bytes::Bytes;
use cartwright::http::Customer;
use futures::future::try_join_all;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use proto::inventory::v1::{AddStockRequest, inventory_service_client::InventoryServiceClient};
use serde_json::{Value, json};
use system_tests::{
    books,
    home::{Home, Profile},
    process::ShopProcess,
};

const STARTS: usize = 10;
const CHECKOUTS: usize = 10_000;
/// Unless others are named on the command line.
const CLIENTS: [usize; 4] = [1, 4, 16, 64];

#[allow(clippy::print_stdout, reason = "this is what it is for")]
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let binary = std::env::current_exe()?.with_file_name("cartwright");
    ensure!(
        binary.exists(),
        "{} is not there: cargo build --release",
        binary.display()
    );
    let mut arguments: Vec<_> = std::env::args().skip(1).collect();
    let profile = if arguments.first().is_some_and(|argument| argument == "engines") {
        arguments.remove(0);
        Profile::Engines
    } else {
        Profile::Embedded
    };
    println!("{:<44} {:>10}", "start to first completed checkout", "ms");
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        starts.push(start_to_checkout(&binary, profile).await?);
    }
    starts.sort_unstable();
    for (name, index) in [("fastest", 0), ("median", STARTS / 2), ("slowest", STARTS - 1)] {
        println!("  {name:<42} {:>10}", starts[index].as_millis());
    }
    println!(
        "\n{:<10} {:>12} {:>12} {:>10} {:>10} {:>10}",
        "clients", "checkouts", "checkouts/s", "p50 ms", "p99 ms", "RSS MiB"
    );
    let given: Vec<usize> = arguments
        .iter()
        .map(|clients| clients.parse())
        .collect::<Result<_, _>>()?;
    for clients in if given.is_empty() { CLIENTS.to_vec() } else { given } {
        let run = load(&binary, profile, clients).await?;
        println!(
            "{clients:<10} {:>12} {:>12} {:>10} {:>10} {:>10}",
            run.checkouts,
            per_second(run.checkouts, run.took),
            millis(run.percentile(50)),
            millis(run.percentile(99)),
            run.memory >> 20
        );
    }
    Ok(())
}

fn per_second(count: usize, took: Duration) -> u128 {
    u128::try_from(count).unwrap_or_default() * 1000 / took.as_millis().max(1)
}

/// With one decimal.
fn millis(took: Duration) -> String {
    format!("{}.{}", took.as_millis(), took.as_micros() / 100 % 10)
}

/// From the start of the process, on an empty directory, to the answer of a purchase.
async fn start_to_checkout(binary: &Path, profile: Profile) -> anyhow::Result<Duration> {
    let home = Home::new(profile).await?;
    let began = Instant::now();
    let shop = ShopProcess::open(home.command(binary)).await?;
    let mut client = Client::connect(shop.customer("1")?).await?;
    client.buy(2, "first").await?;
    let took = began.elapsed();
    shop.stop().await?;
    Ok(took)
}

struct Run {
    checkouts: usize,
    took: Duration,
    /// Of the checkout requests, sorted.
    latencies: Vec<Duration>,
    memory: u64,
}

impl Run {
    fn percentile(&self, percent: usize) -> Duration {
        self.latencies
            .get(self.latencies.len() * percent / 100)
            .copied()
            .unwrap_or_default()
    }
}

/// Purchases of one line each, by clients that each wait for their answer before the next; then the books must balance.
async fn load(binary: &Path, profile: Profile, clients: usize) -> anyhow::Result<Run> {
    let home = Home::new(profile).await?;
    let shop = ShopProcess::open(home.command(binary)).await?;
    receive_goods(shop.addresses["inventory"]).await?;
    let began = Instant::now();
    let each = CHECKOUTS / clients;
    let latencies = try_join_all((0..clients).map(|client| {
        let shop = &shop;
        async move {
            let mut connection = Client::connect(shop.customer("nobody")?).await?;
            let mut latencies = Vec::with_capacity(each);
            for purchase in 0..each {
                // Each purchase is another customer's: what one bought leaves the cart a moment later.
                connection.customer = shop.customer(&format!("customer-{client}-{purchase}"))?;
                let product = 2 + i64::try_from(purchase % 4)?;
                latencies.push(connection.buy(product, &format!("purchase-{purchase}")).await?);
            }
            anyhow::Ok(latencies)
        }
    }))
    .await?;
    let took = began.elapsed();
    books::settle(&home).await?;
    let memory = shop.resident_memory()?;
    books::balance(&home).await?;
    shop.stop().await?;
    let mut latencies: Vec<_> = latencies.into_iter().flatten().collect();
    latencies.sort_unstable();
    Ok(Run {
        checkouts: latencies.len(),
        took,
        latencies,
        memory,
    })
}

async fn receive_goods(inventory: SocketAddr) -> anyhow::Result<()> {
    let mut inventory = InventoryServiceClient::connect(format!("http://{inventory}")).await?;
    for product_id in 2..=5 {
        let idempotency_key = format!("goods-{product_id}");
        let goods = AddStockRequest {
            product_id,
            quantity: 1_000_000,
            idempotency_key,
        };
        inventory.add_stock(goods).await?;
    }
    Ok(())
}

/// A customer on a connection of their own.
struct Client {
    customer: Customer,
    connection: SendRequest<Full<Bytes>>,
}

impl Client {
    async fn connect(customer: Customer) -> anyhow::Result<Self> {
        let stream = tokio::net::TcpStream::connect(customer.gateway).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        #[allow(clippy::disallowed_methods, reason = "ends with its connection")]
        tokio::spawn(connection);
        Ok(Self {
            customer,
            connection: sender,
        })
    }

    async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<(StatusCode, Value)> {
        let request = self.customer.request(Method::POST, path, Some(body))?;
        self.connection.ready().await?;
        let response = self.connection.send_request(request.map(Full::new)).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, serde_json::from_slice(&body)?))
    }

    /// Puts one piece into the cart and buys; how long the buying took.
    async fn buy(&mut self, product: i64, key: &str) -> anyhow::Result<Duration> {
        let (status, cart) = self
            .post("/api/v1/cart/items", &json!({"product_id": product, "quantity": 1}))
            .await?;
        ensure!(status.is_success(), "{cart}");
        let began = Instant::now();
        let (_, checkout) = self.post("/api/v1/checkout", &json!({"idempotency_key": key})).await?;
        let took = began.elapsed();
        ensure!(checkout["status"] == "COMPLETED", "{checkout}");
        Ok(took)
    }
}
