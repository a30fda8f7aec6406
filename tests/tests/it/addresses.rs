//! Unusable engines: the process soon exits with an error in one line that names the variable.

mod secured;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use system_tests::{
    home::{Home, Profile},
    process::{ShopProcess, StartResult, repeated_clause},
};
use testing::Engine;

use crate::BINARY;

/// How long a failing start may take.
const LIMIT: Duration = Duration::from_secs(15);
/// A port without a listener.
const NOWHERE: &str = "127.0.0.1:1";

/// Starts a shop with these wrong variables; the error must name one of them and its problem.
async fn refusal(home: &Home, wrong: &[(&str, String)], named: &str, problem: &str) -> Result<()> {
    let mut command = home.command(BINARY);
    command.envs(wrong.iter().map(|(variable, value)| (variable, value)));
    let started = tokio::time::timeout(LIMIT, ShopProcess::start(command)).await?;
    let StartResult::Exited(status, stderr) = started? else {
        anyhow::bail!("it opened with {wrong:?}");
    };
    let lines: Vec<_> = stderr.lines().filter(|line| line.starts_with("cartwright: ")).collect();
    ensure!(status.code().is_some_and(|code| code != 0), "{wrong:?}: {status}");
    ensure!(
        lines.len() == 1 && lines[0].starts_with(&format!("cartwright: {named}: ")) && lines[0].contains(problem),
        "{wrong:?}: {stderr}"
    );
    ensure!(
        repeated_clause(lines[0]).is_none(),
        "{:?} is repeated: {stderr}",
        repeated_clause(lines[0])
    );
    ensure!(!stderr.contains("a-secret"), "the password shows: {stderr}");
    Ok(())
}

/// The address of an engine with other credentials.
fn login(engine: Engine, login: &str) -> Option<String> {
    let address = engine.address()?;
    let (scheme, rest) = address.split_once("://")?;
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    Some(format!("{scheme}://{login}@{place}"))
}

on_engines! {
    an_unusable_engine_is_reported_by_its_variable,
    the_wrong_part_of_an_address_is_reported,
}

async fn an_unusable_engine_is_reported_by_its_variable() -> Result<()> {
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
            "does not let this user in",
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
    let home = &home;
    let refusals = cases.into_iter().map(|(variable, value, named, problem)| async move {
        refusal(home, &[(variable, value)], named, problem).await
    });
    try_join_all(refusals).await?;
    Ok(())
}

/// The correct `DB_*` variables for the database.
fn parts(home: &Home) -> Option<Vec<(&'static str, String)>> {
    let command = home.command(BINARY);
    let mut variables = command.as_std().get_envs();
    let database_url = variables
        .find(|(variable, _)| *variable == "DATABASE_URL")?
        .1?
        .to_str()?;
    let (login, place) = database_url.split_once("://")?.1.rsplit_once('@')?;
    let (host, database) = place.split_once('/')?;
    let (host, port) = host.split_once(':')?;
    let (user, password) = login.split_once(':')?;
    let parts = [
        ("DATABASE_URL", ""),
        ("DB_HOST", host),
        ("DB_PORT", port),
        ("DB_USER", user),
        ("DB_PASSWORD", password),
        ("DB_NAME", database),
    ];
    Some(parts.map(|(variable, value)| (variable, value.to_owned())).to_vec())
}

async fn the_wrong_part_of_an_address_is_reported() -> Result<()> {
    let home = Home::new(Profile::Engines).await?;
    let parts = parts(&home).context("DATABASE_URL has not all parts")?;
    let mut right = home.command(BINARY);
    right.envs(parts.iter().map(|(variable, value)| (variable, value)));
    let shop = ShopProcess::open(right).await?;
    shop.stop().await?;
    let cases = [
        ("DB_HOST", "127.0.0.2", "DB_HOST", "cannot be reached"),
        ("DB_PASSWORD", "a-secret", "DB_PASSWORD", "does not let this user in"),
        ("DB_NAME", "nowhere", "DB_NAME", "has no database nowhere"),
        ("KAFKA_ADDR", NOWHERE, "KAFKA_ADDR", "no broker answers"),
    ];
    for (variable, value, named, problem) in cases {
        let mut wrong = parts.clone();
        wrong.push((variable, value.to_owned()));
        if variable == "KAFKA_ADDR" {
            wrong.push(("KAFKA_BROKERS", String::new()));
        }
        refusal(&home, &wrong, named, problem).await?;
    }
    Ok(())
}
