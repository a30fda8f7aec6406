//! Engines that cannot be used: one line that names the variable, soon, and an exit that is not 0.

use std::{path::Path, time::Duration};

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use system_tests::{
    home::{Home, Profile},
    process::{ShopProcess, Start},
};
use testing::Engine;

const BINARY: &str = env!("CARGO_BIN_EXE_shop");
/// How long a start may take that comes to nothing.
const LIMIT: Duration = Duration::from_secs(15);
/// Nobody listens there.
const NOWHERE: &str = "127.0.0.1:1";

/// Starts a shop on good engines but for one variable; what it says when it ends.
async fn refusal(home: &Home, (variable, value): (&str, String), named: &str, problem: &str) -> Result<()> {
    let mut command = home.command(Path::new(BINARY));
    command.env(variable, &value);
    let started = tokio::time::timeout(LIMIT, ShopProcess::start(command)).await?;
    let Start::Ended(status, said) = started? else {
        anyhow::bail!("it opened with {variable}={value}");
    };
    let lines: Vec<_> = said.lines().filter(|line| line.starts_with("cartwright: ")).collect();
    ensure!(
        status.code().is_some_and(|code| code != 0),
        "{variable}={value}: {status}"
    );
    ensure!(
        lines.len() == 1 && lines[0].starts_with(&format!("cartwright: {named}: ")) && lines[0].contains(problem),
        "{variable}={value}: {said}"
    );
    ensure!(!said.contains("a-secret"), "the password shows: {said}");
    Ok(())
}

/// The address of an engine with another login.
fn login(engine: Engine, login: &str) -> Option<String> {
    let address = engine.address()?;
    let (scheme, rest) = address.split_once("://")?;
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    Some(format!("{scheme}://{login}@{place}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_cannot_be_used_is_told_by_its_variable() -> Result<()> {
    if !Profile::Engines.is_there() {
        return Ok(());
    }
    let home = Home::new(Profile::Engines).await?;
    let database = Engine::PostgreSql.address().unwrap_or_default();
    let (server, _) = database.rsplit_once('/').unwrap_or_default();
    let stranger = "cartwright:a-secret";
    let cases = [
        (
            "DATABASE_URL",
            format!("postgres://me:a-secret@{NOWHERE}/shop"),
            "DATABASE_URL",
            "cannot be reached",
        ),
        (
            "DATABASE_URL",
            format!("{server}/nowhere"),
            "DATABASE_URL",
            "has no database nowhere",
        ),
        (
            "DATABASE_URL",
            login(Engine::PostgreSql, stranger).unwrap_or_default(),
            "DATABASE_URL",
            "does not let user",
        ),
        ("DATABASE_URL", "nonsense".to_owned(), "DATABASE_URL", "must read like"),
        (
            "ORDERS_DATABASE_URL",
            format!("{server}/nowhere"),
            "ORDERS_DATABASE_URL",
            "has no database nowhere",
        ),
        (
            "MONGO_URI",
            format!("mongodb://{NOWHERE}/"),
            "MONGO_URI",
            "no server can be reached",
        ),
        (
            "MONGO_URI",
            login(Engine::MongoDb, stranger).unwrap_or_default(),
            "MONGO_URI",
            "refuses the user or the password",
        ),
        ("REDIS_ADDR", NOWHERE.to_owned(), "REDIS_ADDR", "no Redis answers"),
        (
            "REDIS_PASSWORD",
            "a-secret".to_owned(),
            "REDIS_PASSWORD",
            "refuses this password",
        ),
        (
            "KAFKA_BROKERS",
            NOWHERE.to_owned(),
            "KAFKA_BROKERS",
            "no broker answers",
        ),
    ];
    let refusals = cases.into_iter().map(|(variable, value, named, problem)| {
        let home = &home;
        async move { refusal(home, (variable, value), named, problem).await }
    });
    try_join_all(refusals).await?;
    Ok(())
}
