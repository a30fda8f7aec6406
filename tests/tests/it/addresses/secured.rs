//! Engines that are spoken to by TLS and with a login: who is let in, and who is told why not.

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use http::StatusCode;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use std::path::Path;
use system_tests::{
    home::{Home, Profile},
    process::ShopProcess,
    secured::Secured,
    shops::until,
};

use super::{BINARY, refusal};

type Variables = Vec<(String, String)>;

/// A home on engines, and what turns a shop there to their second way in. Kafka's has a login, and no TLS in this build.
async fn secured() -> Result<Option<(Home, Secured, Variables)>> {
    if !Profile::Engines.is_there() {
        return Ok(None);
    }
    let Some(secured) = Secured::find() else {
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

/// The name of the home's database.
fn database(home: &Home) -> Result<String> {
    let command = home.command(Path::new(BINARY));
    let mut variables = command.as_std().get_envs();
    let url = variables.find(|(variable, _)| *variable == "DATABASE_URL");
    let url = url.and_then(|(_, url)| url?.to_str()).context("no DATABASE_URL")?;
    Ok(url.rsplit_once('/').context("it names no database")?.1.to_owned())
}

/// How many connections to the database there are, and how many of them by TLS.
async fn connections(database: &str) -> Result<(i64, i64)> {
    let url = testing::Engine::PostgreSql.address().context("no DATABASE_URL")?;
    let mut connection = PgConnection::connect(&url).await?;
    let sql = "SELECT count(*), count(*) FILTER (WHERE ssl) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE datname = $1";
    Ok(sqlx::query_as(sql).bind(database).fetch_one(&mut connection).await?)
}

/// The users of Redis by whom the port for TLS is used.
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purchase_is_made_on_engines_with_tls_and_a_login() -> Result<()> {
    let Some((home, secured, variables)) = secured().await? else {
        return Ok(());
    };
    let mut command = home.command(Path::new(BINARY));
    command.envs(variables);
    let shop = ShopProcess::open(command).await?;
    let ada = shop.customer("ada")?;
    let piece = json!({"product_id": 2, "quantity": 1});
    let added = ada.post("/api/v1/cart/items", &piece).await?;
    ensure!(added.status == StatusCode::CREATED, "{added:?}");
    let key = json!({"idempotency_key": "secured"});
    let checkout = ada.post("/api/v1/checkout", &key).await?.json();
    assert_eq!(checkout["status"], "COMPLETED", "{checkout}");
    let order = format!("/api/v1/orders/{}", checkout["order_id"].as_str().unwrap_or_default());
    until("the order is there", async || {
        Ok((ada.get(&order).await?.status == StatusCode::OK).then_some(()))
    })
    .await?;

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
    let (status, said) = shop.stop().await?;
    ensure!(status.success(), "{said}");
    ensure!(
        said.contains("KAFKA_SECURITY_PROTOCOL=sasl_plaintext"),
        "nobody is warned: {said}"
    );
    Ok(())
}

/// What is changed of a good set of variables, the variable that is to be named, and a part of what is to be said.
type Case<'a> = (Vec<(&'a str, String)>, &'a str, &'a str);

/// A port that speaks another protocol, a server that nobody known vouches for, a name that is not the server's, and a wrong password.
fn cases(secured: &Secured) -> Result<Vec<Case<'static>>> {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
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
