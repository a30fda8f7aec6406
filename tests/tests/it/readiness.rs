//! Ready is who can do what customers need: take changes.

use std::path::Path;

use anyhow::ensure;
use http::StatusCode;
use serde_json::json;
use system_tests::{
    home::{Home, Profile},
    process::ShopProcess,
    shops::until,
};

const BINARY: &str = env!("CARGO_BIN_EXE_shop");
/// What a shop needs to serve its customers, by the names of the probes.
const SERVICES: [&str; 7] = [
    "product",
    "cart",
    "inventory",
    "payment",
    "checkout",
    "orders",
    "notification",
];

/// Runs as nobody whom the setting concerns.
const WRITABLE: &str = "BEGIN READ WRITE;
    DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET default_transaction_read_only', current_database()); END $$;
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid();
    COMMIT";
const READ_ONLY: &str = "BEGIN READ WRITE;
    DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$;
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid();
    COMMIT";

/// Lets no store of the home take a write, or all of them again.
async fn allow_writes(home: &Home, shop: &ShopProcess, allowed: bool) -> anyhow::Result<()> {
    match home.profile() {
        Profile::Embedded => shop.limit_files((!allowed).then_some(0)).await,
        Profile::Engines => {
            home.execute("product", if allowed { WRITABLE } else { READ_ONLY })
                .await
        }
    }
}

/// The stores that are down, by what readiness says.
async fn down(shop: &ShopProcess) -> anyhow::Result<(StatusCode, Vec<String>)> {
    let health = shop.health().await?;
    let report = health.json();
    let dependencies = report["dependencies"].as_object().cloned().unwrap_or_default();
    let down = dependencies.into_iter().filter(|(_, state)| state == "down");
    Ok((health.status, down.map(|(name, _)| name).collect()))
}

on_every_profile! { a_shop_is_not_ready_while_its_stores_accept_no_writes }

async fn a_shop_is_not_ready_while_its_stores_accept_no_writes(profile: Profile) -> anyhow::Result<()> {
    let home = Home::new(profile).await?;
    let shop = ShopProcess::open(home.command(Path::new(BINARY))).await?;
    assert_eq!(down(&shop).await?, (StatusCode::OK, Vec::new()));

    allow_writes(&home, &shop, false).await?;
    // Carts are in MongoDB there, which takes writes.
    let expected: Vec<_> = match profile {
        Profile::Embedded => SERVICES.map(|name| format!("{name}-store")).to_vec(),
        Profile::Engines => {
            let databases = SERVICES.into_iter().filter(|name| *name != "cart");
            databases.map(|name| format!("{name}-postgresql")).collect()
        }
    };
    until("all of them are down", async || {
        let (status, down) = down(&shop).await?;
        let all = expected.iter().all(|store| down.contains(store));
        Ok((status == StatusCode::SERVICE_UNAVAILABLE && all).then_some(()))
    })
    .await?;
    // It lives, and what is only read is there.
    let ada = shop.customer("ada")?;
    until("the catalogue is there", async || {
        Ok((ada.get("/api/v1/products").await?.status == StatusCode::OK).then_some(()))
    })
    .await?;

    allow_writes(&home, &shop, true).await?;
    until("it is ready again", async || {
        Ok((down(&shop).await? == (StatusCode::OK, Vec::new())).then_some(()))
    })
    .await?;
    let line = json!({"product_id": 2, "quantity": 1});
    let added = ada.post("/api/v1/cart/items", &line).await?;
    ensure!(added.status == StatusCode::CREATED, "{added:?}");
    let purchase = json!({"idempotency_key": "after"});
    let checkout = ada.post("/api/v1/checkout", &purchase).await?.json();
    ensure!(checkout["status"] == "COMPLETED", "{checkout}");
    shop.stop().await?;
    Ok(())
}
