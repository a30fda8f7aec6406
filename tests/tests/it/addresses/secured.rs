//! Engines with TLS and a login: successful connections, and the errors of failed ones.

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use sqlx::{Connection, PgConnection};
use system_tests::{
    home::{Home, Profile},
    process::ShopProcess,
    secured_engines::SecuredEngines,
    shopping::{buy_mouse, wait_for_order},
};

use super::refusal;
use crate::BINARY;

type Variables = Vec<(String, String)>;

/// A home on engines, and the variables for access by TLS and a login. For Kafka this build has a login, but no TLS.
async fn secured() -> Result<Option<(Home, SecuredEngines, Variables)>> {
    let Some(secured) = SecuredEngines::find() else {
        return Ok(None);
    };
    let home = Home::new(Profile::Engines).await?;
    let mut variables = Vec::new();
    for engine in ["postgresql", "redis", "mongodb", "kafka"] {
        variables.extend(secured.variables(engine)?);
    }
    let database = database(&home)?;
    let brokers = secured.variable("kafka", "KAFKA_LOGIN_BROKERS")?;
    let own = [
        ("DB_NAME", database.as_str()),
        ("KAFKA_BROKERS", &brokers),
        ("KAFKA_SECURITY_PROTOCOL", "sasl_plaintext"),
        ("KAFKA_SASL_MECHANISM", "PLAIN"),
        ("KAFKA_CA_FILE", ""),
    ];
    variables.extend(own.map(|(variable, value)| (variable.to_owned(), value.to_owned())));
    Ok(Some((home, secured, variables)))
}

/// The name of the home's PostgreSQL database.
fn database(home: &Home) -> Result<String> {
    let command = home.command(BINARY);
    let mut variables = command.as_std().get_envs();
    let url = variables.find(|(variable, _)| *variable == "DATABASE_URL");
    let url = url.and_then(|(_, url)| url?.to_str()).context("no DATABASE_URL")?;
    Ok(url.rsplit_once('/').context("it names no database")?.1.to_owned())
}

/// The number of connections to the database, and how many of them use TLS.
async fn connections(database: &str) -> Result<(i64, i64)> {
    let url = testing::Engine::PostgreSql.address().context("no DATABASE_URL")?;
    let mut connection = PgConnection::connect(&url).await?;
    let sql = "SELECT count(*), count(*) FILTER (WHERE ssl) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE datname = $1";
    Ok(sqlx::query_as(sql).bind(database).fetch_one(&mut connection).await?)
}

/// The users of the connections to Redis' TLS port.
async fn users_of_redis(address: &str) -> Result<Vec<String>> {
    let plain = testing::Engine::Redis.address().context("no REDIS_ADDR")?;
    let client = redis::Client::open(format!("redis://{plain}"))?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let clients: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut connection).await?;
    let port = address.rsplit_once(':').context("no port")?.1;
    let there = clients
        .lines()
        .filter(|line| line.contains(&format!("laddr=127.0.0.1:{port} ")));
    let user = |line: &str| {
        Some(
            line.split(' ')
                .find_map(|field| field.strip_prefix("user="))?
                .to_owned(),
        )
    };
    Ok(there.filter_map(user).collect())
}

on_engines! {
    a_purchase_is_made_on_engines_with_tls_and_a_login,
    an_untrusted_engine_and_a_wrong_login_are_reported_by_their_variable,
}

async fn a_purchase_is_made_on_engines_with_tls_and_a_login() -> Result<()> {
    let Some((home, secured, variables)) = secured().await? else {
        return Ok(());
    };
    let mut command = home.command(BINARY);
    command.envs(variables);
    let shop = ShopProcess::open(command).await?;
    let ada = shop.customer("ada")?;
    let checkout = buy_mouse(&ada, "secured").await?;
    wait_for_order(&ada, &checkout).await?;

    let (all, by_tls) = connections(&database(&home)?).await?;
    ensure!(
        all > 0 && all == by_tls,
        "{by_tls} of {all} connections to PostgreSQL are by TLS"
    );
    let users = users_of_redis(&secured.variable("redis", "REDIS_ADDR")?).await?;
    ensure!(
        users.iter().any(|user| user == "cartwright"),
        "Redis by TLS is used by {users:?}"
    );
    let (status, stderr) = shop.stop().await?;
    ensure!(status.success(), "{stderr}");
    ensure!(
        stderr.contains("KAFKA_SECURITY_PROTOCOL=sasl_plaintext"),
        "no warning: {stderr}"
    );
    Ok(())
}

/// Changes to correct variables, the variable that the error must name, and a part of the message.
type Case<'a> = (Vec<(&'a str, String)>, &'a str, &'a str);

/// A port with another protocol, an untrusted certificate, a certificate for another name, a wrong password.
fn cases(secured: &SecuredEngines) -> Result<Vec<Case<'static>>> {
    let other = secured.other_authority();
    let local = |engine: &str, variable: &str| -> Result<String> {
        Ok(secured.variable(engine, variable)?.replace("localhost", "127.0.0.1"))
    };
    let port = secured.variable("postgresql", "DB_PORT")?;
    let url =
        format!("postgres://cartwright:a-secret@localhost:{port}/cartwright?sslmode=verify-full&sslrootcert={other}");
    let by_url = [
        ("DATABASE_URL", url),
        ("DB_HOST", String::new()),
        ("DB_PASSWORD_FILE", String::new()),
    ];
    let mongo = secured.variable("mongodb", "MONGO_URI")?;
    let strange = mongo.split("&tlsCAFile").next().unwrap_or_default();
    let plain_redis = testing::Engine::Redis.address().context("no REDIS_ADDR")?;
    let password =
        |variable: &'static str, file: &'static str| vec![(variable, "a-secret".to_owned()), (file, String::new())];
    Ok(vec![
        (
            vec![("DB_CA_FILE", other.clone())],
            "DB_CA_FILE",
            "nobody known vouches for",
        ),
        (
            vec![("DB_HOST", "127.0.0.1".to_owned())],
            "DB_HOST",
            "is not who the address says",
        ),
        (
            password("DB_PASSWORD", "DB_PASSWORD_FILE"),
            "DB_PASSWORD",
            "does not let this user in",
        ),
        (by_url.to_vec(), "DATABASE_URL", "nobody known vouches for"),
        (
            vec![("REDIS_CA_FILE", other.clone())],
            "REDIS_CA_FILE",
            "nobody known vouches for",
        ),
        (
            vec![("REDIS_ADDR", local("redis", "REDIS_ADDR")?)],
            "REDIS_ADDR",
            "is not who the address says",
        ),
        (
            password("REDIS_PASSWORD", "REDIS_PASSWORD_FILE"),
            "REDIS_PASSWORD",
            "refuses",
        ),
        (vec![("REDIS_ADDR", plain_redis)], "REDIS_ADDR", "whether it speaks TLS"),
        (
            vec![("MONGO_URI", format!("{strange}&tlsCAFile={other}"))],
            "MONGO_URI",
            "check tls, tlsCAFile",
        ),
        (
            vec![("MONGO_URI", local("mongodb", "MONGO_URI")?)],
            "MONGO_URI",
            "check tls, tlsCAFile",
        ),
        (
            password("KAFKA_SASL_PASSWORD", "KAFKA_SASL_PASSWORD_FILE"),
            "KAFKA_SASL_PASSWORD",
            "does not let this user in",
        ),
    ])
}

async fn an_untrusted_engine_and_a_wrong_login_are_reported_by_their_variable() -> Result<()> {
    let Some((home, secured, variables)) = secured().await? else {
        return Ok(());
    };
    let (home, variables) = (&home, &variables);
    let refusals = cases(&secured)?
        .into_iter()
        .map(|(changes, named, problem)| async move {
            let good = variables
                .iter()
                .map(|(variable, value)| (variable.as_str(), value.clone()));
            let wrong: Vec<_> = good.chain(changes).collect();
            refusal(home, &wrong, named, problem).await
        });
    try_join_all(refusals).await?;
    Ok(())
}
