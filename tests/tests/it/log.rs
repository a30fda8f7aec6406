//! The shop sells, whatever happens to the destination of its log.

use std::{
    fs::File,
    io::{PipeReader, Read, pipe},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use http::StatusCode;
use serde_json::{Value, json};
use system_tests::{
    books,
    home::{Home, Profile},
    process::{ShopProcess, command},
    shopping::{buy_mouse, wait_for_order},
    shops::until,
};
use tokio::task::spawn_blocking;

use crate::BINARY;

/// Enough to fill the pipe and the queue in front of it: a purchase logs half a megabyte at level `trace`.
const PURCHASES: usize = 10;
/// How long a graceful stop may take.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// Buys a mouse, and waits until consumers have applied the event.
async fn buy(shop: &ShopProcess, name: &str, key: usize) -> anyhow::Result<()> {
    let customer = shop.customer(name)?;
    let checkout = buy_mouse(&customer, &format!("key-{key}")).await?;
    wait_for_order(&customer, &checkout).await?;
    until("the cart is empty", async || {
        let cart = customer.get("/api/v1/cart").await?.json();
        Ok(cart["items"] == json!([]))
    })
    .await
}

async fn assert_healthy(shop: &ShopProcess) -> anyhow::Result<()> {
    let health = shop.health().await?;
    assert_eq!(health.json()["status"], "ok", "{}", health.json());
    Ok(())
}

/// Stops the shop gracefully and within the limit.
async fn assert_stops(shop: ShopProcess) -> anyhow::Result<()> {
    let began = Instant::now();
    let (status, _) = shop.stop().await?;
    ensure!(status.success(), "{status}");
    ensure!(began.elapsed() < STOP_LIMIT, "stopped after {:?}", began.elapsed());
    Ok(())
}

on_every_profile! { a_shop_survives_the_end_of_its_log_reader, an_unread_log_blocks_no_purchase }

async fn a_shop_survives_the_end_of_its_log_reader(profile: Profile) -> anyhow::Result<()> {
    let home = Home::new(profile).await?;
    let (reader, writer) = pipe()?;
    let mut serve = home.command(BINARY);
    serve.env("LOG_LEVEL", "debug").stderr(writer);
    let shop = ShopProcess::open(serve).await?;
    buy(&shop, "ada", 0).await?;
    drop(reader);
    for key in 1..10 {
        buy(&shop, "ada", key).await?;
    }
    assert_healthy(&shop).await?;
    books::wait_until_idle(&home).await?;
    assert_stops(shop).await?;
    books::balance(&home).await
}

async fn an_unread_log_blocks_no_purchase(profile: Profile) -> anyhow::Result<()> {
    let home = Home::new(profile).await?;
    let (reader, writer) = pipe()?;
    let mut serve = home.command(BINARY);
    serve.env("LOG_LEVEL", "trace").stderr(writer);
    let shop = ShopProcess::open(serve).await?;
    for key in 0..PURCHASES {
        buy(&shop, "ada", key).await?;
    }
    assert_healthy(&shop).await?;
    // A new reader finds out how many lines were dropped.
    let dropped = spawn_blocking(move || wait_for_dropped_lines(reader));
    buy(&shop, "grace", 0).await?;
    let (lines, reader) = tokio::time::timeout(STOP_LIMIT, dropped)
        .await
        .context("no line reports dropped lines")???;
    assert!(lines > 0);
    // Again the log is not read.
    for key in 1..10 {
        buy(&shop, "grace", key).await?;
    }
    books::wait_until_idle(&home).await?;
    assert_stops(shop).await?;
    drop(reader);
    books::balance(&home).await
}

/// Reads until a line reports how many lines were dropped.
fn wait_for_dropped_lines(mut reader: PipeReader) -> anyhow::Result<(u64, PipeReader)> {
    let (mut text, mut part) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        let read = reader.read(&mut part)?;
        ensure!(read > 0, "the log has ended");
        text.extend_from_slice(&part[..read]);
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            if let Some(lines) = dropped(&String::from_utf8(line)?) {
                return Ok((lines, reader));
            }
        }
    }
}

/// The number of dropped lines that this line reports.
fn dropped(line: &str) -> Option<u64> {
    let line: Value = serde_json::from_str(line).ok()?;
    let is_report = line["message"].as_str()?.starts_with("log lines were dropped");
    is_report.then(|| line["lines"].as_u64())?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_recovers_from_a_full_disk_without_a_restart() -> anyhow::Result<()> {
    let home = Home::new(Profile::Embedded).await?;
    let log = home.folder().join("log");
    let mut serve = home.command(BINARY);
    serve.env("LOG_LEVEL", "debug").stderr(File::create(&log)?);
    let shop = ShopProcess::open(serve).await?;
    buy(&shop, "ada", 0).await?;
    let others = async |key: usize| {
        let customers = (0..8).map(|other| {
            let name = format!("other-{other}");
            let shop = &shop;
            async move { buy(shop, &name, key).await }
        });
        futures::future::join_all(customers).await
    };

    shop.limit_files(Some(0)).await?;
    for refused in others(1).await {
        refused.unwrap_err();
    }
    let ada = shop.customer("ada")?;
    let line = json!({"product_id": 3, "quantity": 1});
    let refused = ada.post("/api/v1/cart/items", &line).await?;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{refused:?}");

    shop.limit_files(None).await?;
    for bought in others(2).await {
        bought?;
    }
    buy(&shop, "ada", 1).await?;
    until(
        "all is well",
        async || Ok(shop.health().await?.json()["status"] == "ok"),
    )
    .await?;
    books::wait_until_idle(&home).await?;
    assert_stops(shop).await?;
    let lines: u64 = std::fs::read_to_string(&log)?.lines().filter_map(dropped).sum();
    assert!(lines > 0, "no line reports dropped lines");
    books::balance(&home).await
}

#[tokio::test]
async fn a_shop_runs_without_a_reader_of_its_banner() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut serve = command(BINARY, folder.path());
    let ((out, stdout), (err, stderr)) = (pipe()?, pipe()?);
    drop((out, err));
    let mut child = serve.stdout(stdout).stderr(stderr).spawn()?;
    // The process handles signals before it locks the directory, so a signal after that stops it gracefully.
    while !folder.path().join("cartwright.lock").exists() {
        ensure!(child.try_wait()?.is_none(), "it has ended");
        tokio::task::yield_now().await;
    }
    let id = child.id().context("it has ended")?.to_string();
    let sent = std::process::Command::new("kill").args(["-s", "TERM", &id]).status()?;
    ensure!(sent.success());
    let status = tokio::time::timeout(STOP_LIMIT, child.wait())
        .await
        .context("it does not end")??;
    ensure!(status.success(), "{status}");
    Ok(())
}

#[tokio::test]
async fn a_failed_start_has_its_exit_code_even_if_stderr_is_closed_or_full() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    for (variable, value, code) in [("HTTP_PORT", "eighty", 64), ("DATA_DIR", "/proc/cartwright", 1)] {
        let (err, gone) = pipe()?;
        drop(err);
        for stderr in [
            Stdio::from(gone),
            Stdio::from(File::options().write(true).open("/dev/full")?),
        ] {
            let mut serve = command(BINARY, folder.path());
            let status = serve.env(variable, value).stderr(stderr).status().await?;
            assert_eq!(status.code(), Some(code), "{variable}={value}");
        }
    }
    Ok(())
}
