//! The command line: its errors and its subcommands.

mod banner;
mod connection_settings;
mod exposure;
mod files;
mod keys;
mod secrets;

use std::{
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Output, Stdio},
};

use anyhow::{Context, ensure};
use cartwright::http::{Customer, HttpResponse};
use serde_json::json;
use sqlx::{Connection, SqliteConnection};
use system_tests::{
    books,
    home::{Home, Profile},
    process::{GRPC_HOST, ShopProcess, command, repeated_clause},
};

use crate::BINARY;

/// Runs a command and waits for its end.
async fn run(data: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<Output> {
    let mut command = command(BINARY, data);
    command
        .args(arguments)
        .envs(variables.iter().copied())
        .stdout(Stdio::piped());
    Ok(command.output().await?)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The answer of a shop to a request for the cart with this token.
async fn cart_with(shop: &ShopProcess, token: String) -> anyhow::Result<HttpResponse> {
    let (gateway, token) = (shop.gateway.context("no gateway")?, Some(token));
    Customer { gateway, token }.get("/api/v1/cart").await
}

/// Checks the exit code, and that standard error is one line with all of these words.
fn assert_refused(output: &Output, code: i32, words: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert_eq!(text.lines().count(), 1, "not one line: {text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    if let Some(clause) = repeated_clause(&text) {
        panic!("{clause:?} is repeated: {text}");
    }
}

#[tokio::test]
async fn a_wrong_setting_is_named_before_anything_is_opened() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let wrong = [
        ("HTTP_PORT", "eighty", "HTTP_PORT"),
        ("HTTP_PORT", "70000", "HTTP_PORT"),
        ("CART_PORT", "-1", "CART_PORT"),
        ("HOST", "nowhere", "HOST"),
        ("GRPC_HOST", "localhost", "GRPC_HOST"),
        ("GRPC_HOST", "0.0.0.0", "GRPC_PLAINTEXT=trusted-network"),
        ("GRPC_HOST", "::", "GRPC_PLAINTEXT=trusted-network"),
        ("ADMIN_HOST", "0.0.0.0", "GRPC_PLAINTEXT=trusted-network"),
        ("GRPC_PLAINTEXT", "yes", "trusted-network"),
        ("PAYMENT_PROVIDER", "stripe", "must be simulated"),
        (
            "CARTWRIGHT_CRASH_AT",
            "commit:cart.save:before",
            "CARTWRIGHT_TEST_HOOKS",
        ),
        ("CARTWRIGHT_CRASH_TRACE", "trace", "CARTWRIGHT_TEST_HOOKS"),
        ("CARTWRIGHT_TEST_HOOKS", "yes", "abort-this-process"),
        ("JWT_SECRET", "short", "32 bytes"),
        ("JWT_SECRET", "                                ", "whitespace"),
        (
            "JWT_SECRET",
            "********************************",
            "must not repeat a few bytes",
        ),
        ("JWT_SECRET_PREVIOUS", "short", "32 bytes"),
        (
            "JWT_SECRET_PREVIOUS",
            "\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t",
            "whitespace",
        ),
        ("EVENT_SIGNING_KEY", "short", "32 bytes"),
        (
            "EVENT_SIGNING_KEY",
            "********************************",
            "must not repeat a few bytes",
        ),
        (
            "EVENT_SIGNING_KEY_PREVIOUS",
            "********************************",
            "must not repeat a few bytes",
        ),
        ("RESERVATION_TTL", "soon", "250ms"),
        ("RESERVATION_TTL", "0s", "more than 0"),
        ("CHECKOUT_TIMEOUT", "10h", "50s"),
        ("SHUTDOWN_TIMEOUT", "0", "more than 0"),
        ("SHUTDOWN_TIMEOUT", "2h", "1h"),
        ("KEEP_ALIVE_TIMEOUT", "0", "more than 0"),
        ("TRUST_FORWARDED_FOR", "maybe", "true or false"),
        ("OUTBOX_BATCH_SIZE", "0", "OUTBOX_BATCH_SIZE"),
        ("EVENT_RETENTION", "0", "EVENT_RETENTION"),
        ("EVENT_RETENTION", "59m", "EVENT_RETENTION"),
        ("PAYMENT_SUCCESS_RATE", "1.5", "0.95"),
        ("PAYMENT_MIN_LATENCY", "2s", "PAYMENT_MAX_LATENCY"),
        ("PAYMENT_MAX_LATENCY", "1m", "6s"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL"),
        ("LOG_FORMAT", "xml", "json"),
        ("DATABASE_URL", "mysql://u:secret@h/d", "must read like postgres://"),
        ("REDIS_ADDR", "localhost", "host:6379"),
        ("KAFKA_BROKERS", "localhost", "host:9092"),
        ("KAFKA_ADDR", "localhost", "host:9092"),
        (
            "MONGO_URI",
            "mongodb://u:secret@h:port/",
            "mongodb://user:password@host",
        ),
        ("NAMESPACE", "a b", "letters, digits"),
        ("JWT_AUDIENCE", "shop ", "no blanks"),
        ("JWT_ISSUER", "\tme", "no blanks"),
    ];
    for (variable, value, word) in wrong {
        let output = run(&data, &["serve"], &[(variable, value)]).await?;
        assert_refused(&output, 64, &[variable, word]);
        assert!(!stderr(&output).contains("secret@"), "{}", stderr(&output));
    }
    assert!(!data.exists(), "something was opened");
    Ok(())
}

#[tokio::test]
async fn wrong_usage_exits_with_code_2() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    for arguments in [
        &["sell"][..],
        &["serve", "shoes"],
        &["--http-port", "x"],
        &["token"],
        &["dlq", "redrive"],
    ] {
        let output = run(folder.path(), arguments, &[]).await?;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
    }
    let help = run(folder.path(), &["--help"], &[]).await?;
    assert!(help.status.success());
    for word in [
        "demo",
        "token",
        "dlq",
        "config",
        "DATA_DIR",
        "[default: 8080]",
        "RESERVATION_TTL",
    ] {
        assert!(stdout(&help).contains(word), "{word} is not in the help");
    }
    Ok(())
}

#[tokio::test]
async fn services_that_need_events_do_not_start_without_their_bus() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let output = run(folder.path(), &["serve", "cart", "orders"], &[]).await?;
    assert_refused(
        &output,
        64,
        &["KAFKA_BROKERS", "cart, orders", "checkout, notification"],
    );
    Ok(())
}

#[tokio::test]
async fn a_data_directory_in_use_is_refused_with_its_process() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let shop = ShopProcess::open(command(BINARY, folder.path())).await?;
    assert_refused(
        &run(folder.path(), &["serve"], &[]).await?,
        1,
        &["DATA_DIR", "in use by process"],
    );
    shop.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_port_in_use_is_named() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = taken.local_addr()?.port().to_string();
    let _elsewhere = tokio::net::TcpListener::bind((GRPC_HOST, taken.local_addr()?.port())).await?;
    for variable in ["HTTP_PORT", "ADMIN_PORT", "ORDERS_PORT"] {
        let output = run(folder.path(), &["serve"], &[(variable, &port)]).await?;
        assert_refused(&output, 1, &[variable, &port, "0 picks a free port"]);
    }
    Ok(())
}

#[tokio::test]
async fn an_unusable_data_directory_is_reported_in_one_line() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("file");
    std::fs::write(&file, "")?;
    assert_refused(&run(&file, &["serve"], &[]).await?, 1, &["DATA_DIR", "file"]);

    let below_a_file = file.join("data");
    assert_refused(
        &run(&below_a_file, &["serve"], &[]).await?,
        1,
        &["DATA_DIR", "file/data"],
    );

    // Permissions do not stop root, but a file system without new files does.
    assert_refused(
        &run(Path::new("/proc/cartwright"), &["serve"], &[]).await?,
        1,
        &["DATA_DIR", "/proc/cartwright"],
    );

    let garbage = folder.path().join("garbage");
    std::fs::create_dir(&garbage)?;
    std::fs::write(
        garbage.join("orders.db"),
        "this is no database, but it is longer than nothing",
    )?;
    assert_refused(&run(&garbage, &["serve"], &[]).await?, 1, &["orders.db"]);
    Ok(())
}

#[tokio::test]
async fn an_unreadable_bus_is_reported_in_one_line() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(
        folder.path().join("bus.db"),
        "this is no database, but it is longer than nothing",
    )?;
    for arguments in [&["serve"][..], &["dlq", "list"]] {
        assert_refused(
            &run(folder.path(), arguments, &[]).await?,
            1,
            &["bus.db", "not a database"],
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_full_disk_is_reported_in_one_line() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    // A limit on file sizes fails the same write as a full disk.
    let shell = format!("ulimit -f 8; trap '' XFSZ; exec {BINARY} serve");
    let mut command = command(Path::new("/bin/bash"), &folder.path().join("data"));
    let output = command.args(["-c", &shell]).output().await?;
    assert_refused(&output, 1, &["data"]);
    Ok(())
}

#[tokio::test]
async fn a_data_directory_of_a_newer_version_is_left_alone() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let shop = ShopProcess::open(command(BINARY, folder.path())).await?;
    shop.stop().await?;
    let path = folder.path().join("checkout.db");
    let mut db = SqliteConnection::connect(&format!("sqlite://{}", path.display())).await?;
    sqlx::query("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (99, 'later', 1, x'00', 0)")
        .execute(&mut db)
        .await?;
    db.close().await?;
    assert_refused(
        &run(folder.path(), &["serve"], &[]).await?,
        1,
        &["checkout.db", "newer version"],
    );
    Ok(())
}

#[tokio::test]
async fn a_generated_secret_is_private_and_its_tokens_are_accepted() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let mut own_secret = command(BINARY, &data);
    own_secret.env_remove("JWT_SECRET");
    let shop = ShopProcess::open(own_secret).await?;
    let mode = std::fs::metadata(data.join("jwt.key"))?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut token = command(BINARY, &data);
    let token = token
        .args(["token", "--user", "7", "--expires-in", "1m"])
        .env_remove("JWT_SECRET")
        .output()
        .await?;
    ensure!(token.status.success(), "{}", stderr(&token));
    let cart = cart_with(&shop, stdout(&token)).await?;
    assert_eq!((cart.status.as_u16(), &cart.json()["user_id"]), (200, &json!("7")));
    let other = shop.customer("7")?.get("/api/v1/cart").await?;
    assert_eq!(other.status.as_u16(), 401, "a token of another secret");
    shop.stop().await?;
    Ok(())
}

#[tokio::test]
async fn the_configuration_shows_its_sources_and_no_secret() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let output = run(
        folder.path(),
        &["config", "--reservation-ttl", "2m"],
        &[("CHECKOUT_TIMEOUT", "3s")],
    )
    .await?;
    ensure!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    let line = |variable: &str| {
        text.lines()
            .find(|line| line.starts_with(variable))
            .unwrap_or_default()
            .to_owned()
    };
    for (variable, value, source) in [
        ("CHECKOUT_TIMEOUT", "3s", "environment"),
        ("RESERVATION_TTL", "2m", "flag"),
        ("OUTBOX_BATCH_SIZE", "100", "default"),
        ("JWT_SECRET", "(redacted)", "environment"),
        ("DATABASE_URL", "-", "not set"),
    ] {
        let line = line(variable);
        assert!(line.contains(value) && line.ends_with(source), "{variable}: {line}");
    }
    assert!(!text.contains(system_tests::process::SECRET));
    Ok(())
}

#[tokio::test]
async fn the_demo_succeeds() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let output = run(folder.path(), &["demo"], &[]).await?;
    let text = stdout(&output);
    ensure!(output.status.success(), "{}\n{text}", stderr(&output));
    for word in [
        "CARD_DECLINED",
        "OUT_OF_STOCK",
        "PAYMENT_COMPLETED",
        "All of it came out right.",
    ] {
        assert!(text.contains(word), "{word} is not in the story");
    }
    Ok(())
}

on_every_profile! { dead_letters_are_listed_shown_and_sent_again_beside_a_running_shop }

async fn dead_letters_are_listed_shown_and_sent_again_beside_a_running_shop(profile: Profile) -> anyhow::Result<()> {
    let home = Home::new(profile).await?;
    let dlq = async |arguments: &[&str]| {
        let mut command = home.command(BINARY);
        command.arg("dlq").args(arguments).stdout(Stdio::piped());
        command.output().await
    };
    if profile == Profile::Embedded {
        assert_refused(&dlq(&["list"]).await?, 1, &["no shop has been open here"]);
    }
    let shop = ShopProcess::open(home.command(BINARY)).await?;
    let poison = events::Message {
        key: "k".to_owned(),
        headers: Vec::new(),
        value: "garbage".into(),
    };
    let bus = home.bus().await?;
    bus.publish(proto::events::CHECKOUTS.name, vec![poison]).await?;
    books::wait_until_idle(&home).await?;
    let text = stdout(&dlq(&["list"]).await?);
    assert!(text.contains("3 events parked") && text.contains("ce_id"), "{text}");
    let id = text.split_whitespace().next().context("no id")?.to_owned();
    let shown = stdout(&dlq(&["show", &id]).await?);
    assert!(shown.contains("garbage") && shown.contains("reason"), "{shown}");
    assert_refused(&dlq(&["show", "nothing"]).await?, 1, &["no event nothing is parked"]);
    let redriven = dlq(&["redrive", "--all"]).await?;
    ensure!(redriven.status.success(), "{}", stderr(&redriven));
    books::wait_until_idle(&home).await?;
    // The event is still garbage: every group parks it again.
    let again = stdout(&dlq(&["list"]).await?);
    assert!(again.contains("3 events parked"), "{again}");
    shop.stop().await?;
    Ok(())
}
