//! Two processes of each service on real engines: the shop sells while processes stop and start.

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
use system_tests::{
    books,
    process::{GRPC_HOST, SECRET},
    shopping::{buy_mouse, wait_for_order},
    shops::{until, wait_for},
};
use tokio::process::Command;

use crate::BINARY;
use crate::split::{buy_in_request, services_that_logged};
use fleet::Fleet;
use load::{AllowedFailures, Load};

/// A slow provider, so that purchases are always in flight.
const SLOW_PROVIDER: [(&str, &str); 2] = [("PAYMENT_MIN_LATENCY", "20ms"), ("PAYMENT_MAX_LATENCY", "100ms")];
const RESTARTS: usize = 20;
/// Purchases between one restart and the next.
const BETWEEN: u64 = 8;
/// How long a saga belongs to a dead process.
const LEASE: Duration = Duration::from_secs(15);
/// How long recovery by another process may take after that, on any machine.
const TAKEOVER: Duration = Duration::from_secs(10);
/// How long the lease of a relay lasts.
const RELAY_LEASE: Duration = Duration::from_secs(10);

on_engines! {
    sixteen_processes_are_one_shop,
    eight_processes_with_services_on_an_address_of_their_own_are_one_shop,
    a_purchase_is_found_in_the_logs_of_eight_processes_by_its_request_id,
    no_request_fails_while_every_process_is_restarted_in_turn,
    acknowledged_purchases_survive_killing_processes_in_turn,
    another_relay_takes_over_when_the_lease_holder_is_killed,
}

async fn sixteen_processes_are_one_shop() -> Result<()> {
    check_one_shop(Fleet::open(&[]).await?).await
}

async fn eight_processes_with_services_on_an_address_of_their_own_are_one_shop() -> Result<()> {
    let fleet = Fleet::one_of_each(&[]).await?;
    for process in 0..fleet.replicas.len() {
        for (service, address) in &fleet.process(process)?.addresses {
            let is_gateway = service == "gateway";
            assert_eq!(address.ip() == Ipv4Addr::LOCALHOST, is_gateway, "{service}: {address}");
            assert_eq!(address.ip() == GRPC_HOST, !is_gateway, "{service}: {address}");
        }
    }
    check_one_shop(fleet).await
}

async fn a_purchase_is_found_in_the_logs_of_eight_processes_by_its_request_id() -> Result<()> {
    let mut fleet = Fleet::one_of_each(&[("LOG_LEVEL", "info")]).await?;
    buy_in_request(&fleet.customer("ada")?, "find-me-in-eight").await?;
    books::wait_until_idle(&fleet.home).await?;
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

/// Runs the acceptance script and a purchase.
async fn check_one_shop(mut fleet: Fleet) -> Result<()> {
    run_acceptance_script(&fleet).await?;
    let ada = fleet.customer("ada")?;
    let checkout = buy_mouse(&ada, "one shop").await?;
    wait_for_order(&ada, &checkout).await?;
    books::check(&fleet.home).await?;
    fleet.close().await?;
    Ok(())
}

/// Runs the acceptance script, if it lies beside the repository.
async fn run_acceptance_script(fleet: &Fleet) -> Result<()> {
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
    let stdout = String::from_utf8_lossy(&ran.stdout);
    println!("{}", stdout.lines().last().unwrap_or_default());
    ensure!(ran.status.success(), "{stdout}{}", String::from_utf8_lossy(&ran.stderr));
    Ok(())
}

async fn no_request_fails_while_every_process_is_restarted_in_turn() -> Result<()> {
    let mut fleet = Fleet::open(&SLOW_PROVIDER).await?;
    let load = Load::on(fleet.addresses("gateway"), AllowedFailures::None);
    let restarts = async {
        load.wait_for_purchases(BETWEEN).await?;
        for restart in 0..RESTARTS {
            // First one process of each service, then the other.
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
            load.wait_for_purchases(BETWEEN).await?;
        }
        anyhow::Ok(())
    };
    let ran = with_load(&load, restarts).await;
    let checked = check_when_idle(&fleet, &load).await;
    // Always closes the fleet, because that prints the logs of the processes.
    fleet.close().await?;
    ran.and(checked)
}

/// Runs `happens` under load; fails with the findings of the customers.
async fn with_load(load: &Load, happens: impl Future<Output = Result<()>>) -> Result<()> {
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

/// Checks the idle shop: the books, and the responses that customers got.
async fn check_when_idle(fleet: &Fleet, load: &Load) -> Result<()> {
    books::wait_until_idle(&fleet.home).await?;
    load.check(fleet.addresses("cart")[0]).await?;
    // The repeated checkouts may have bought carts whose first request was lost.
    books::check(&fleet.home).await
}

/// The unfinished sagas with a valid lease of this process.
async fn leases(fleet: &Fleet, owner: &str) -> Result<Vec<(String, String)>> {
    let sql = format!(
        "SELECT id, state FROM checkouts WHERE state NOT IN ('COMPLETED', 'FAILED') AND owner = '{owner}'
            AND julianday(lease_until) > julianday('now')"
    );
    fleet.home.rows("checkout", sql).await
}

async fn acknowledged_purchases_survive_killing_processes_in_turn() -> Result<()> {
    let mut fleet = Fleet::open(&SLOW_PROVIDER).await?;
    let load = Load::on(fleet.addresses("gateway"), AllowedFailures::Crashes);
    let kills = async {
        for index in (0..fleet.replicas.len()).step_by(2) {
            load.wait_for_purchases(BETWEEN).await?;
            let name = fleet.replicas[index].name.clone();
            if name.starts_with("checkout") {
                let orphans = pause_while_it_owns_sagas(&fleet, index).await?;
                fleet.kill(index).await?;
                await_takeover(&fleet, orphans).await?;
            } else {
                fleet.kill(index).await?;
            }
            load.wait_for_purchases(BETWEEN).await?;
            fleet.start_again(index).await?;
        }
        load.wait_for_purchases(BETWEEN).await
    };
    let ran = with_load(&load, kills).await;
    let checked = check_when_idle(&fleet, &load).await;
    fleet.close().await?;
    ran.and(checked)
}

/// Suspends a process while it owns sagas; returns those sagas.
async fn pause_while_it_owns_sagas(fleet: &Fleet, index: usize) -> Result<Vec<String>> {
    let process = fleet.process(index)?;
    let caught = wait_for("it drives a saga", async || {
        process.pause().await?;
        let sagas = leases(fleet, &fleet.replicas[index].name).await?;
        if sagas.is_empty() {
            process.resume().await?;
        }
        Ok((!sagas.is_empty()).then_some(sagas))
    });
    Ok(caught.await?.into_iter().map(|(id, _)| id).collect())
}

/// Waits until another process has finished the sagas of a killed one.
async fn await_takeover(fleet: &Fleet, orphans: Vec<String>) -> Result<()> {
    let began = Instant::now();
    let open = format!(
        "SELECT id FROM checkouts WHERE state NOT IN ('COMPLETED', 'FAILED') AND id IN ('{}')",
        orphans.join("', '")
    );
    let timeout = LEASE + TAKEOVER;
    let finished = async {
        loop {
            let left: Vec<(String,)> = fleet.home.rows("checkout", open.clone()).await?;
            if left.is_empty() {
                return anyhow::Ok(());
            }
        }
    };
    let finished = tokio::time::timeout(timeout, finished).await;
    finished.with_context(|| format!("{orphans:?} are not finished within {timeout:?}"))??;
    println!(
        "{} sagas of a dead owner were finished within {:?}",
        orphans.len(),
        began.elapsed()
    );
    Ok(())
}

async fn another_relay_takes_over_when_the_lease_holder_is_killed() -> Result<()> {
    let mut fleet = Fleet::with_two_of("checkout").await?;
    let load = Load::on(fleet.addresses("gateway"), AllowedFailures::Crashes);
    let kill = async {
        load.wait_for_purchases(20).await?;
        let holder: Vec<(String,)> = fleet.home.rows("checkout", "SELECT owner FROM outbox_lease").await?;
        let (holder,) = holder.first().context("no relay has the lease")?;
        fleet.kill(fleet.index(holder)?).await?;
        let killed = Instant::now();
        // An event published after the crash shows that the other relay has the lease.
        let published = "SELECT id FROM outbox WHERE published_at IS NOT NULL";
        let before: Vec<(String,)> = fleet.home.rows("checkout", published).await?;
        until("another relay publishes", async || {
            let now: Vec<(String,)> = fleet.home.rows("checkout", published).await?;
            Ok(now.len() > before.len())
        })
        .await?;
        let took = killed.elapsed();
        println!("{holder} was killed; the other relay published after {took:?}");
        ensure!(took < RELAY_LEASE + TAKEOVER, "the other relay took {took:?}");
        load.wait_for_purchases(20).await?;
        fleet.start_again(fleet.index(holder)?).await
    };
    let ran = with_load(&load, kill).await;
    let checked = check_when_idle(&fleet, &load).await;
    fleet.close().await?;
    ran.and(checked)
}
