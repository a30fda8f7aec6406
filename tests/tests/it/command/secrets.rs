//! What the command does with what is secret: logins, keys, tokens.

use std::{fs::Permissions, os::unix::fs::PermissionsExt, path::Path, process::Output};

use anyhow::{Context, ensure};
use serde_json::json;
use system_tests::process::{ShopProcess, command};

use super::{BINARY, assert_refused, printed, run, said};

/// Logins as people write them: not encoded, or where none belongs.
const LOGINS: [&str; 8] = [
    "pepper:s3cr3t@h",
    "pepper:s3cr3t@h:1",
    "pepper:12/s3cr3t@h/d",
    "pepper:12?s3cr3t@h/d",
    "pepper:12#s3cr3t@h/d",
    "pepper:s3cr3t/12@h:1/d",
    "pepper:a@b/s3cr3t@h/d",
    "pepper:s3cr3t@h:port/d",
];

#[tokio::test]
async fn nothing_of_a_login_shows_in_what_is_said_of_an_address() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let addresses = [
        ("DATABASE_URL", "postgres://"),
        ("ORDERS_DATABASE_URL", "postgres://"),
        ("MONGO_URI", "mongodb://"),
        ("REDIS_ADDR", ""),
        ("REDIS_ADDR", "redis://"),
        ("KAFKA_BROKERS", ""),
        ("KAFKA_BOOTSTRAP_SERVERS", "SASL_SSL://"),
        ("KAFKA_ADDR", "h:9092,"),
        ("CART_SERVICE_ADDR", ""),
        ("ORDERS_SERVICE_ADDR", "h:1, http://"),
        ("HOST", ""),
        ("HTTP_PORT", ""),
        ("DB_PORT", ""),
    ];
    // A database whose address is well-formed with its login is not there, and is waited for.
    let well_formed = |variable: &str, login: &str| {
        variable.contains("DATABASE_URL") && ["pepper:s3cr3t@h", "pepper:s3cr3t@h:1"].contains(&login)
            || variable == "MONGO_URI" && ["pepper:s3cr3t@h", "pepper:s3cr3t@h:1"].contains(&login)
    };
    for (variable, scheme) in addresses {
        for login in LOGINS.into_iter().filter(|login| !well_formed(variable, login)) {
            let value = format!("{scheme}{login}");
            let services: &[&str] = if variable.ends_with("SERVICE_ADDR") {
                &["serve", "gateway"]
            } else {
                &["serve"]
            };
            let output = run(folder.path(), services, &[(variable, &value)]).await?;
            assert_refused(&output, 64, &[variable]);
            for part in ["pepper", "s3cr3t", "12"] {
                assert!(!said(&output).contains(part), "{value}: {}", said(&output));
            }
            let shown = run(folder.path(), &["config"], &[(variable, &value)]).await?;
            for text in [said(&shown), printed(&shown)] {
                assert!(!text.contains("s3cr3t"), "{value}: {text}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_key_that_cannot_be_used_is_said_in_a_line() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let [no_file, short] = ["no-file", "short"].map(|name| folder.path().join(name));
    std::fs::create_dir_all(no_file.join("jwt.key"))?;
    std::fs::create_dir(&short)?;
    std::fs::write(short.join("jwt.key"), "short")?;
    std::fs::set_permissions(short.join("jwt.key"), Permissions::from_mode(0o600))?;
    for arguments in [&["serve"][..], &["token", "--user", "1"]] {
        for (data, word) in [(&no_file, "cannot be used"), (&short, "is damaged")] {
            let output = run(data, arguments, &[("JWT_SECRET", "")]).await?;
            assert_refused(&output, 64, &["JWT_SECRET"]);
            let mut command = command(Path::new(BINARY), data);
            let command = command.args(arguments).env_remove("JWT_SECRET");
            assert_refused(&command.output().await?, 1, &["jwt.key", word]);
        }
    }
    assert_refused(
        &run(folder.path(), &["token", "--user", ""], &[]).await?,
        1,
        &["no token was made", "1 to 128 characters"],
    );
    Ok(())
}

#[tokio::test]
async fn a_token_is_made_with_the_key_of_a_shop_and_with_no_other() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let token = async |data: &Path, variables: &[(&str, &str)]| {
        let mut command = command(Path::new(BINARY), data);
        command
            .args(["token", "--user", "7"])
            .env_remove("JWT_SECRET")
            .envs(variables.iter().copied());
        command.output().await
    };
    // Where there is no shop, nothing is made.
    let (empty, nowhere) = (folder.path().join("empty"), folder.path().join("no/where"));
    std::fs::create_dir(&empty)?;
    for data in [&empty, &nowhere] {
        let output = token(data, &[]).await?;
        assert_refused(&output, 1, &["JWT_SECRET", "no shop has made a key", "DATA_DIR"]);
        assert_eq!(printed(&output), "");
    }
    assert!(!nowhere.exists() && std::fs::read_dir(&empty)?.next().is_none());
    // Beside a shop, and after it.
    let data = folder.path().join("data");
    let mut own_secret = command(Path::new(BINARY), &data);
    own_secret.env_remove("JWT_SECRET");
    let shop = ShopProcess::open(own_secret).await?;
    ensure!(token(&data, &[]).await?.status.success());
    shop.stop().await?;
    ensure!(token(&data, &[]).await?.status.success());
    // With a key that is set there need be no directory.
    let secret = [("JWT_SECRET", system_tests::process::SECRET)];
    ensure!(token(&nowhere, &secret).await?.status.success());
    assert!(!nowhere.exists());
    Ok(())
}

#[tokio::test]
async fn a_shop_with_a_name_takes_the_tokens_that_are_for_it() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let named = [("JWT_AUDIENCE", "shop"), ("JWT_ISSUER", "me")];
    let mut serve = command(Path::new(BINARY), folder.path());
    serve.envs(named);
    let shop = ShopProcess::open(serve).await?;
    let ask = async |token: &Output| {
        let customer = cartwright::http::Customer {
            gateway: shop.gateway.context("no gateway")?,
            token: Some(printed(token)),
        };
        customer.get("/api/v1/cart").await
    };
    let token = ["token", "--user", "7"];
    let good = ask(&run(folder.path(), &token, &named).await?).await?;
    assert_eq!((good.status.as_u16(), &good.json()["user_id"]), (200, &json!("7")));
    for (variables, word) in [
        (&[("JWT_AUDIENCE", "other"), ("JWT_ISSUER", "me")][..], "audience"),
        (&[("JWT_ISSUER", "me")], "audience"),
        (&[("JWT_AUDIENCE", "shop")], "issuer"),
    ] {
        let refused = ask(&run(folder.path(), &token, variables).await?).await?;
        assert_eq!(refused.status.as_u16(), 401);
        let problem = refused.json();
        assert!(
            problem["detail"].as_str().is_some_and(|detail| detail.contains(word)),
            "{problem}"
        );
    }
    shop.stop().await?;
    Ok(())
}
