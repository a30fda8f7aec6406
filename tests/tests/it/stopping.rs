//! SIGTERM: what is in flight is finished, nothing else is waited for, and there is an end in any case.

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use http::StatusCode;
use serde_json::json;
use system_tests::{
    home::{Home, Profile},
    process::{SECRET, ShopProcess},
    shops::until,
};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tonic::{Code, Streaming, transport::Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_client::HealthClient,
};

const BINARY: &str = env!("CARGO_BIN_EXE_shop");
/// Half of what it takes orchestrators to lose their patience.
const SOON: Duration = Duration::from_secs(15);

async fn watch(address: SocketAddr) -> anyhow::Result<Streaming<HealthCheckResponse>> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    let mut watch = HealthClient::new(channel)
        .watch(HealthCheckRequest::default())
        .await?
        .into_inner();
    let first = watch.message().await?.context("a watch that says nothing")?;
    ensure!(first.status() == ServingStatus::Serving);
    Ok(watch)
}

/// A connection to the gateway with a part of a request on it.
async fn half(gateway: SocketAddr, request: &str) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(gateway).await?;
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}

on_every_profile! { idle_connections_and_unfinished_requests_do_not_delay_a_stop }

async fn idle_connections_and_unfinished_requests_do_not_delay_a_stop(profile: Profile) -> anyhow::Result<()> {
    let home = Home::new(profile).await?;
    let shop = ShopProcess::open(home.command(Path::new(BINARY))).await?;
    let (mut silent, mut watches) = (Vec::new(), Vec::new());
    for address in shop
        .addresses
        .iter()
        .filter(|(name, _)| *name != "gateway")
        .map(|(_, address)| *address)
    {
        silent.push(TcpStream::connect(address).await?);
        watches.push(watch(address).await?);
    }
    ensure!(watches.len() == 7, "{:?}", shop.addresses);
    let gateway = shop.gateway.context("no gateway")?;
    let token = shop.customer("ada")?.token.context("no token")?;
    let head = format!("POST /api/v1/cart/items HTTP/1.1\r\nhost: shop\r\nauthorization: Bearer {token}\r\n");
    let body = "content-type: application/json\r\ncontent-length: 100\r\n\r\n{\"product";
    let _halves = [
        half(gateway, "").await?,
        half(gateway, &head).await?,
        half(gateway, &format!("{head}{body}")).await?,
        half(shop.admin, "GET /health/").await?,
    ];
    // Connections are taken in order: when this one is answered, those have been taken.
    ensure!(shop.customer("ada")?.get("/health").await?.status == StatusCode::OK);

    let began = Instant::now();
    let (status, said) = shop.stop().await?;
    println!("{profile:?}: stopped after {:?}", began.elapsed());
    ensure!(status.success(), "{status}: {said}");
    ensure!(began.elapsed() < SOON, "stopped after {:?}", began.elapsed());
    for mut watch in watches {
        let told = watch.message().await?.context("ended without a word")?;
        assert_eq!(told.status(), ServingStatus::NotServing);
        assert_eq!(watch.message().await.unwrap_err().code(), Code::Unavailable);
    }
    Ok(())
}

/// A shop with a purchase that takes as long as the checkout waits, and that purchase.
async fn busy(timeout: &str) -> anyhow::Result<(Home, ShopProcess, tokio::task::JoinHandle<()>)> {
    let home = Home::new(Profile::Embedded).await?;
    let mut serve = home.command(Path::new(BINARY));
    serve
        .env("CHECKOUT_TIMEOUT", "40s")
        .env("SHUTDOWN_TIMEOUT", timeout)
        .env("JWT_SECRET", SECRET);
    let shop = ShopProcess::open(serve).await?;
    let ada = shop.customer("ada")?;
    let line = json!({"product_id": 2, "quantity": 1});
    let added = ada.post("/api/v1/cart/items", &line).await?;
    ensure!(added.status == StatusCode::CREATED, "{added:?}");
    let buyer = ada.clone();
    #[allow(
        clippy::disallowed_methods,
        reason = "ends with the connection to the shop that it is about"
    )]
    let purchase = tokio::spawn(async move {
        let body = json!({"idempotency_key": "slow", "payment_method": "pm_card_unavailable"});
        // What becomes of it is not what these tests are about.
        drop(buyer.post("/api/v1/checkout", &body).await);
    });
    until("the purchase is under way", async || {
        let begun: Vec<(String,)> = home.rows("checkout", "SELECT state FROM checkouts").await?;
        Ok((!begun.is_empty()).then_some(()))
    })
    .await?;
    Ok((home, shop, purchase))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_within_its_timeout_despite_work_in_flight() -> anyhow::Result<()> {
    let (_home, shop, purchase) = busy("2s").await?;
    let began = Instant::now();
    let (_, said) = shop.stop().await?;
    ensure!(began.elapsed() < SOON, "stopped after {:?}: {said}", began.elapsed());
    purchase.await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_the_process_at_once_and_says_so() -> anyhow::Result<()> {
    let (_home, shop, purchase) = busy("5m").await?;
    let began = Instant::now();
    shop.signal("TERM").await?;
    shop.signal("INT").await?;
    let (status, said) = shop.end().await?;
    ensure!(began.elapsed() < SOON, "ended after {:?}: {said}", began.elapsed());
    // 128 and the number of the second one, as shells count. Both may be found at the same time.
    ensure!([Some(130), Some(143)].contains(&status.code()), "{status}: {said}");
    let lines = said.lines().filter(|line| line.contains("a second signal"));
    assert_eq!(lines.count(), 1, "{said}");
    purchase.await?;
    Ok(())
}
