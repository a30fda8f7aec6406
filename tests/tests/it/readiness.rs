//! A process is ready if its stores accept writes.

use http::StatusCode;
use system_tests::{
    home::{Home, Profile},
    process::ShopProcess,
    shopping::buy_mouse,
    shops::until,
};

use crate::BINARY;

/// The prefixes of the probes' names.
const SERVICES: [&str; 7] = [
    "product",
    "cart",
    "inventory",
    "payment",
    "checkout",
    "orders",
    "notification",
];

/// The explicit `READ WRITE` is needed because the setting applies to this connection, too.
const WRITABLE: &str = "BEGIN READ WRITE;
    DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET default_transaction_read_only', current_database()); END $$;
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid();
    COMMIT";
const READ_ONLY: &str = "BEGIN READ WRITE;
    DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$;
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid();
    COMMIT";

/// Makes all stores of the shop refuse or accept writes.
async fn allow_writes(home: &Home, shop: &ShopProcess, allowed: bool) -> anyhow::Result<()> {
    match home.profile() {
        Profile::Embedded => shop.limit_files((!allowed).then_some(0)).await,
        Profile::Engines => {
            home.execute("product", if allowed { WRITABLE } else { READ_ONLY })
                .await
        }
    }
}

/// The status of readiness, and the dependencies that are down.
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
    let shop = ShopProcess::open(home.command(BINARY)).await?;
    assert_eq!(down(&shop).await?, (StatusCode::OK, Vec::new()));

    allow_writes(&home, &shop, false).await?;
    // On engines carts are in MongoDB, which still accepts writes.
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
        Ok(status == StatusCode::SERVICE_UNAVAILABLE && all)
    })
    .await?;
    // The process is live and serves reads.
    let ada = shop.customer("ada")?;
    until("the catalogue is there", async || {
        Ok(ada.get("/api/v1/products").await?.status == StatusCode::OK)
    })
    .await?;

    allow_writes(&home, &shop, true).await?;
    until("it is ready again", async || {
        Ok(down(&shop).await? == (StatusCode::OK, Vec::new()))
    })
    .await?;
    buy_mouse(&ada, "after").await?;
    shop.stop().await?;
    Ok(())
}
