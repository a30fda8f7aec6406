//! SIGTERM: the process finishes requests in flight, waits for nothing else, and ends within a limit.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use http::StatusCode;
use system_tests::{
    home::{Home, Profile},
    process::{SECRET, ShopProcess},
    shopping::{add, check_out},
    shops::until,
};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tonic::{Code, Streaming, transport::Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::BINARY;

/// Half of the time after which orchestrators kill a process.
const STOP_LIMIT: Duration = Duration::from_secs(15);

async fn watch(address: SocketAddr) -> anyhow::Result<Streaming<HealthCheckResponse>> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    let mut watch = HealthClient::new(channel)
        .watch(HealthCheckRequest::default())
        .await?
        .into_inner();
    let first = watch.message().await?.context("a watch without a message")?;
    ensure!(first.status() == ServingStatus::Serving);
    Ok(watch)
}

/// A connection to the gateway with a part of a request on it.
async fn open_with_part(gateway: SocketAddr, request: &str) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(gateway).await?;
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}

on_every_profile! { idle_connections_and_unfinished_requests_do_not_delay_a_stop }

async fn idle_connections_and_unfinished_requests_do_not_delay_a_stop(profile: Profile) -> anyhow::Result<()> {
    let home = Home::new(profile).await?;
    let shop = ShopProcess::open(home.command(BINARY)).await?;
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
    let _partial = [
        open_with_part(gateway, "").await?,
        open_with_part(gateway, &head).await?,
        open_with_part(gateway, &format!("{head}{body}")).await?,
        open_with_part(shop.admin, "GET /health/").await?,
    ];
    // The gateway accepts connections in order: once it answers this one, it has accepted the others.
    ensure!(shop.customer("ada")?.get("/health").await?.status == StatusCode::OK);

    let began = Instant::now();
    let (status, stderr) = shop.stop().await?;
    println!("{profile:?}: stopped after {:?}", began.elapsed());
    ensure!(status.success(), "{status}: {stderr}");
    ensure!(began.elapsed() < STOP_LIMIT, "stopped after {:?}", began.elapsed());
    for mut watch in watches {
        let last = watch.message().await?.context("ended without a message")?;
        assert_eq!(last.status(), ServingStatus::NotServing);
        assert_eq!(watch.message().await.unwrap_err().code(), Code::Unavailable);
    }
    Ok(())
}

/// A shop with a checkout request that waits for its whole timeout, and that request.
async fn shop_with_slow_purchase(timeout: &str) -> anyhow::Result<(Home, ShopProcess, tokio::task::JoinHandle<()>)> {
    let home = Home::new(Profile::Embedded).await?;
    let mut serve = home.command(BINARY);
    serve
        .env("CHECKOUT_TIMEOUT", "40s")
        .env("SHUTDOWN_TIMEOUT", timeout)
        .env("JWT_SECRET", SECRET);
    let shop = ShopProcess::open(serve).await?;
    let ada = shop.customer("ada")?;
    add(&ada, 2, 1).await?;
    #[allow(clippy::disallowed_methods, reason = "ends with the connection to the shop")]
    let purchase = tokio::spawn(async move { drop(check_out(&ada, "slow", "pm_card_unavailable").await) });
    until("the purchase has begun", async || {
        let begun: Vec<(String,)> = home.rows("checkout", "SELECT state FROM checkouts").await?;
        Ok(!begun.is_empty())
    })
    .await?;
    Ok((home, shop, purchase))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_within_its_timeout_despite_work_in_flight() -> anyhow::Result<()> {
    let (_home, shop, purchase) = shop_with_slow_purchase("2s").await?;
    let began = Instant::now();
    let (_, stderr) = shop.stop().await?;
    ensure!(
        began.elapsed() < STOP_LIMIT,
        "stopped after {:?}: {stderr}",
        began.elapsed()
    );
    purchase.await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_the_process_at_once_and_says_so() -> anyhow::Result<()> {
    let (_home, shop, purchase) = shop_with_slow_purchase("5m").await?;
    let began = Instant::now();
    shop.signal("TERM").await?;
    shop.signal("INT").await?;
    let (status, stderr) = shop.wait_stopped().await?;
    ensure!(
        began.elapsed() < STOP_LIMIT,
        "ended after {:?}: {stderr}",
        began.elapsed()
    );
    // 128 plus the number of a signal, as in shells. Both signals may be pending at the same time.
    ensure!([Some(130), Some(143)].contains(&status.code()), "{status}: {stderr}");
    let lines = stderr.lines().filter(|line| line.contains("a second signal"));
    assert_eq!(lines.count(), 1, "{stderr}");
    purchase.await?;
    Ok(())
}
