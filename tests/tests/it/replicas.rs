//! Two of everything, on real engines: the shop sells on while its processes come and go.

mod fleet;
mod holds;
mod load;
mod peers;

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use cartwright::ServiceName;
use http::StatusCode;
use serde_json::json;
use system_tests::{
    books,
    home::Profile,
    process::{GRPC_HOST, SECRET},
    shops::until,
};
use tokio::process::Command;

use crate::split::{buy_in_request, services_that_logged};
use fleet::{BINARY, Fleet};
use load::{Load, Tolerance};

/// The provider takes its time, so that purchases are under way whenever something happens.
const UNHURRIED: [(&str, &str); 2] = [("PAYMENT_MIN_LATENCY", "20ms"), ("PAYMENT_MAX_LATENCY", "100ms")];
const RESTARTS: usize = 20;
/// Purchases between one restart and the next.
const BETWEEN: u64 = 8;
/// How long a saga belongs to a process that is dead.
const LEASE: Duration = Duration::from_secs(15);
/// How long it may take from then until another process has finished what there was: on any machine.
const TAKEOVER: Duration = Duration::from_secs(10);
/// How long the lease of a relay lasts.
const RELAY_LEASE: Duration = Duration::from_secs(10);

/// Whether there are engines; says so when there are none.
fn engines() -> bool {
    Profile::Engines.is_there()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_processes_are_one_shop() -> Result<()> {
    if !engines() {
        return Ok(());
    }
    one_shop(Fleet::open(&[]).await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_processes_with_services_on_an_address_of_their_own_are_one_shop() -> Result<()> {
    if !engines() {
        return Ok(());
    }
    let fleet = Fleet::one_of_each(&[]).await?;
    for process in 0..fleet.replicas.len() {
        for (service, address) in &fleet.process(process)?.addresses {
            let is_gateway = service == "gateway";
            assert_eq!(address.ip() == Ipv4Addr::LOCALHOST, is_gateway, "{service}: {address}");
            assert_eq!(address.ip() == GRPC_HOST, !is_gateway, "{service}: {address}");
        }
    }
    one_shop(fleet).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purchase_is_found_in_the_logs_of_eight_processes_by_its_request_id() -> Result<()> {
    if !engines() {
        return Ok(());
    }
    let mut fleet = Fleet::one_of_each(&[("LOG_LEVEL", "info")]).await?;
    buy_in_request(&fleet.customer("ada")?, "find-me-in-eight").await?;
    books::settle(&fleet.home).await?;
    let logs = fleet.close().await?;
    let found = logs
        .into_iter()
        .map(|log| services_that_logged("find-me-in-eight", &[log]));
    let found: Vec<BTreeSet<_>> = found.collect::<Result<_>>()?;
    assert!(found.iter().all(|services| services.len() == 1), "{found:?}");
    let all = ServiceName::ALL.map(|service| service.as_str().to_owned());
    assert_eq!(found.into_iter().flatten().collect::<BTreeSet<_>>(), all.into());
    Ok(())
}

/// It passes what others try on a shop, and a purchase of ours.
async fn one_shop(mut fleet: Fleet) -> Result<()> {
    accept(&fleet).await?;
    let ada = fleet.customer("ada")?;
    let added = ada
        .post("/api/v1/cart/items", &json!({"product_id": 2, "quantity": 1}))
        .await?;
    ensure!(added.status == StatusCode::CREATED, "{added:?}");
    let body = json!({"idempotency_key": "two of everything"});
    let checkout = ada.post("/api/v1/checkout", &body).await?.json();
    assert_eq!(checkout["status"], "COMPLETED", "{checkout}");
    let order = format!("/api/v1/orders/{}", checkout["order_id"].as_str().unwrap_or_default());
    until("the order is there", async || {
        Ok((ada.get(&order).await?.status == StatusCode::OK).then_some(()))
    })
    .await?;
    books::settle(&fleet.home).await?;
    books::balance(&fleet.home).await?;
    fleet.close().await?;
    Ok(())
}

/// The script that others run against a shop, if it lies beside the repository.
async fn accept(fleet: &Fleet) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/acceptance/purchase.py");
    if !script.exists() {
        println!(
            "SKIPPED the acceptance script: {} is not there; a purchase of our own is",
            script.display()
        );
        return Ok(());
    }
    let gateway = fleet.addresses("gateway")[0];
    let ran = Command::new("python3")
        .arg(&script)
        .args(["--base", &format!("http://{gateway}")])
        .args(["--token", &format!("{BINARY} token --user {{user}}")])
        .env("JWT_SECRET", SECRET)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .kill_on_drop(true)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&ran.stdout);
    println!("{}", said.lines().last().unwrap_or_default());
    ensure!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_every_process_is_restarted_in_turn() -> Result<()> {
    if !engines() {
        return Ok(());
    }
    let mut fleet = Fleet::open(&UNHURRIED).await?;
    let load = Load::on(fleet.addresses("gateway"), Tolerance::Nothing);
    let restarts = async {
        load.more(BETWEEN).await?;
        for restart in 0..RESTARTS {
            // First one of each service, then the other one.
            let index = (2 * restart) % 16 + (restart / 8) % 2;
            let (name, began) = (fleet.replicas[index].name.clone(), Instant::now());
            fleet.stop(index).await?;
            let stopped = began.elapsed();
            if name.starts_with("checkout") {
                let kept = leases(&fleet, &name).await?;
                ensure!(kept.is_empty(), "{name} has stopped and keeps {kept:?}");
            }
            fleet.start_again(index).await?;
            println!("{name}: stopped in {stopped:?}, back after {:?}", began.elapsed());
            load.more(BETWEEN).await?;
        }
        anyhow::Ok(())
    };
    let went = under(&load, restarts).await;
    let proved = prove(&fleet, &load).await;
    // Whatever came of it: what the processes have to say of it shows when they stop.
    fleet.close().await?;
    went.and(proved)
}

/// Does something to the shop while customers are in it; fails with what they found wrong.
async fn under(load: &Load, happens: impl Future<Output = Result<()>>) -> Result<()> {
    let began = Instant::now();
    let ((), happened) = tokio::join!(load.run(), async {
        let happened = happens.await;
        load.end();
        happened
    });
    println!("{load}, in {:?}", began.elapsed());
    let findings = load.findings();
    ensure!(
        findings.is_empty(),
        "{} visits went wrong:\n{}",
        findings.len(),
        findings.join("\n")
    );
    happened
}

/// At rest, everything agrees: the books, and the customers with what they were told.
async fn prove(fleet: &Fleet, load: &Load) -> Result<()> {
    books::settle(&fleet.home).await?;
    load.check(fleet.addresses("cart")[0]).await?;
    // Asking again may have bought something that was asked for in vain.
    books::settle(&fleet.home).await?;
    books::balance(&fleet.home).await
}

/// Unfinished sagas that belong to a process for now.
async fn leases(fleet: &Fleet, owner: &str) -> Result<Vec<(String, String)>> {
    let sql = format!(
        "SELECT id, state FROM checkouts WHERE state NOT IN ('COMPLETED', 'FAILED') AND owner = '{owner}'
            AND julianday(lease_until) > julianday('now')"
    );
    fleet.home.rows("checkout", sql).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_purchases_survive_killing_processes_in_turn() -> Result<()> {
    if !engines() {
        return Ok(());
    }
    let mut fleet = Fleet::open(&UNHURRIED).await?;
    let load = Load::on(fleet.addresses("gateway"), Tolerance::Crashes);
    let kills = async {
        for index in (0..fleet.replicas.len()).step_by(2) {
            load.more(BETWEEN).await?;
            let name = fleet.replicas[index].name.clone();
            if name.starts_with("checkout") {
                let orphans = catch_at_work(&fleet, index).await?;
                fleet.kill(index).await?;
                await_takeover(&fleet, orphans).await?;
            } else {
                fleet.kill(index).await?;
            }
            load.more(BETWEEN).await?;
            fleet.start_again(index).await?;
        }
        load.more(BETWEEN).await
    };
    let went = under(&load, kills).await;
    let proved = prove(&fleet, &load).await;
    fleet.close().await?;
    went.and(proved)
}

/// Freezes a process at a moment at which sagas are its own; returns those.
async fn catch_at_work(fleet: &Fleet, index: usize) -> Result<Vec<String>> {
    let process = fleet.process(index)?;
    let caught = until("it drives a saga", async || {
        process.freeze().await?;
        let sagas = leases(fleet, &fleet.replicas[index].name).await?;
        if sagas.is_empty() {
            process.thaw().await?;
        }
        Ok((!sagas.is_empty()).then_some(sagas))
    });
    Ok(caught.await?.into_iter().map(|(id, _)| id).collect())
}

/// Waits until another process has finished what one that has just died left behind.
async fn await_takeover(fleet: &Fleet, orphans: Vec<String>) -> Result<()> {
    let began = Instant::now();
    let open = format!(
        "SELECT id FROM checkouts WHERE state NOT IN ('COMPLETED', 'FAILED') AND id IN ('{}')",
        orphans.join("', '")
    );
    let patience = LEASE + TAKEOVER;
    let finished = async {
        loop {
            let left: Vec<(String,)> = fleet.home.rows("checkout", open.clone()).await?;
            if left.is_empty() {
                return anyhow::Ok(());
            }
        }
    };
    let finished = tokio::time::timeout(patience, finished).await;
    finished.with_context(|| format!("{orphans:?} are not finished within {patience:?}"))??;
    println!(
        "{} sagas of a dead owner were finished within {:?}",
        orphans.len(),
        began.elapsed()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_relay_takes_over_when_the_lease_holder_is_killed() -> Result<()> {
    if !engines() {
        return Ok(());
    }
    let mut fleet = Fleet::with_two_of("checkout").await?;
    let load = Load::on(fleet.addresses("gateway"), Tolerance::Crashes);
    let kill = async {
        load.more(20).await?;
        let holder: Vec<(String,)> = fleet.home.rows("checkout", "SELECT owner FROM outbox_lease").await?;
        let (holder,) = holder.first().context("no relay has the lease")?;
        fleet.kill(fleet.index(holder)?).await?;
        let killed = Instant::now();
        // An event of after the crash arrives: the other relay has the lease.
        let published = "SELECT id FROM outbox WHERE published_at IS NOT NULL";
        let before: Vec<(String,)> = fleet.home.rows("checkout", published).await?;
        until("another relay publishes", async || {
            let now: Vec<(String,)> = fleet.home.rows("checkout", published).await?;
            Ok((now.len() > before.len()).then_some(()))
        })
        .await?;
        let took = killed.elapsed();
        println!("{holder} was killed; the other relay published after {took:?}");
        ensure!(took < RELAY_LEASE + TAKEOVER, "the other relay took {took:?}");
        load.more(20).await?;
        fleet.start_again(fleet.index(holder)?).await
    };
    let went = under(&load, kill).await;
    let proved = prove(&fleet, &load).await;
    fleet.close().await?;
    went.and(proved)
}
