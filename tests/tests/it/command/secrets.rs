//! Secrets of the command: logins, keys, tokens.

use std::{fs::Permissions, os::unix::fs::PermissionsExt, path::Path, process::Output};

use anyhow::ensure;
use serde_json::json;
use system_tests::process::{ShopProcess, command};

use super::{assert_refused, cart_with, run, stderr, stdout};
use crate::BINARY;

/// Malformed logins: not encoded, or in a setting that takes none.
const LOGINS: [&str; 10] = [
    "pepper:s3cr3t@h",
    "pepper:s3cr3t@h:1",
    "pepper:12/s3cr3t@h/d",
    "pepper:12?s3cr3t@h/d",
    "pepper:12#s3cr3t@h/d",
    "pepper:s3cr3t/12@h:1/d",
    "pepper:a@b/s3cr3t@h/d",
    "pepper:s3cr3t@h:port/d",
    "pepper:s3cr3t%40h:1",
    "pepper%3As3cr3t%40h",
];

/// Logins in forms that some engine accepts.
const TAKEN: [&str; 8] = [
    "h:1?password=s3cr3t",
    "h:1/d?user=pepper&password=s3cr3t",
    "h:1/d?password=a@s3cr3t",
    "h:1/d?pasword=s3cr3t",
    "host=h password=s3cr3t",
    "pepper:a@b:s3cr3t@h:1/d",
    "h1:1,pepper:s3cr3t@h2:1",
    ":s3cr3t",
];

#[tokio::test]
async fn no_form_of_a_login_shows_in_the_configuration_or_in_help() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let variables = [
        "DATABASE_URL",
        "CHECKOUT_DATABASE_URL",
        "DB_HOST",
        "DB_USER",
        "DB_NAME",
        "MONGO_URI",
        "MONGO_DB_NAME",
        "REDIS_ADDR",
        "REDIS_USER",
        "KAFKA_BROKERS",
        "KAFKA_ADDR",
        "KAFKA_SASL_USERNAME",
        "CART_SERVICE_ADDR",
        "NAMESPACE",
        "INSTANCE",
    ];
    for form in LOGINS.into_iter().chain(TAKEN) {
        for scheme in ["", "postgres://", "mongodb://", "redis://"] {
            let value = format!("{scheme}{form}");
            let all: Vec<_> = variables.iter().map(|variable| (*variable, value.as_str())).collect();
            for arguments in [
                &["config"][..],
                &["--help"],
                &["serve", "--help"],
                &["serve"],
                &["dlq", "list"],
            ] {
                let output = run(folder.path(), arguments, &all).await?;
                for text in [stderr(&output), stdout(&output)] {
                    assert!(!text.contains("s3cr3t"), "{arguments:?} with {value}: {text}");
                }
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_error_about_a_wrong_flag_shows_no_login() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    for form in LOGINS.into_iter().chain(TAKEN).filter(|form| !form.contains(' ')) {
        let (value, flag) = (format!("postgres://{form}"), format!("--http-port={form}"));
        for arguments in [
            &["serve", &value][..],
            &[&value],
            &["serve", &flag],
            &["serve", "--http-port", &value],
        ] {
            let output = run(folder.path(), arguments, &[]).await?;
            assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
            assert!(
                !stderr(&output).contains("s3cr3t"),
                "{arguments:?}: {}",
                stderr(&output)
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_secret_from_a_file_is_used_and_never_shown() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str, text: &str| -> anyhow::Result<String> {
        let path = folder.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let key = file("key", "a s3cr3t that has more than 32 bytes in it\n")?;
    let by_file = [("JWT_SECRET", ""), ("JWT_SECRET_FILE", &key)];
    let token = run(folder.path(), &["token", "--user", "7"], &by_file).await?;
    let given = [("JWT_SECRET", "a s3cr3t that has more than 32 bytes in it")];
    let mut serve = command(BINARY, &folder.path().join("data"));
    serve.envs(given);
    let shop = ShopProcess::open(serve).await?;
    assert_eq!(cart_with(&shop, stdout(&token)).await?.status.as_u16(), 200);
    shop.stop().await?;

    let shown = run(folder.path(), &["config"], &by_file).await?;
    assert!(!stdout(&shown).contains("s3cr3t"), "{}", stdout(&shown));
    assert!(
        stdout(&shown).contains("(redacted)               file"),
        "{}",
        stdout(&shown)
    );

    let twice = run(folder.path(), &["serve"], &[given[0], by_file[1]]).await?;
    assert_refused(&twice, 64, &["JWT_SECRET_FILE: is set, and so is"]);
    let empty = file("empty", "\n")?;
    for (value, words) in [("/a/s3cr3t", "cannot be read"), (&empty, "is empty")] {
        for command in [&["serve"][..], &["config"], &["token", "--user", "7"]] {
            let output = run(
                folder.path(),
                command,
                &[("JWT_SECRET", ""), ("JWT_SECRET_FILE", value)],
            )
            .await?;
            assert_refused(&output, 64, &["JWT_SECRET_FILE: the file", words]);
            assert!(!stderr(&output).contains("s3cr3t"), "{}", stderr(&output));
        }
    }
    let wrong_url = file("url", "postgres://pepper:s3cr3t/12@h:1/d")?;
    let output = run(folder.path(), &["serve"], &[("ORDERS_DATABASE_URL_FILE", &wrong_url)]).await?;
    assert_refused(&output, 64, &["ORDERS_DATABASE_URL"]);
    assert!(!stderr(&output).contains("s3cr3t"), "{}", stderr(&output));
    Ok(())
}

#[tokio::test]
async fn a_secret_given_as_a_flag_causes_a_warning() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let flags = [
        "--jwt-secret=a s3cr3t that has more than 32 bytes in it",
        "--redis-password",
        "s3cr3t",
        "--mongo-uri=mongodb://pepper:s3cr3t@127.0.0.1:1",
    ];
    let mut token = vec!["token", "--user", "7"];
    token.extend(flags);
    let output = run(folder.path(), &token, &[]).await?;
    for (flag, file) in [
        ("--jwt-secret", "JWT_SECRET_FILE"),
        ("--redis-password", "REDIS_PASSWORD_FILE"),
        ("--mongo-uri", "MONGO_URI_FILE"),
    ] {
        let line = format!("{flag} shows in the list of processes; give the secret in a file that {file} names");
        assert!(stderr(&output).contains(&line), "{}", stderr(&output));
    }
    assert!(!stderr(&output).contains("s3cr3t"), "{}", stderr(&output));

    let mut serve = command(BINARY, folder.path());
    serve.arg("serve").arg(flags[0]);
    let (_, log) = ShopProcess::open(serve).await?.stop().await?;
    assert!(log.contains("--jwt-secret shows in the list of processes"), "{log}");
    assert!(!log.contains("s3cr3t"), "{log}");
    Ok(())
}

#[tokio::test]
async fn an_error_about_an_address_shows_nothing_of_its_login() -> anyhow::Result<()> {
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
    // With a well-formed address the shop would wait for the database.
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
                assert!(!stderr(&output).contains(part), "{value}: {}", stderr(&output));
            }
            let shown = run(folder.path(), &["config"], &[(variable, &value)]).await?;
            for text in [stderr(&shown), stdout(&shown)] {
                assert!(!text.contains("s3cr3t"), "{value}: {text}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_unusable_key_is_reported_in_one_line() -> anyhow::Result<()> {
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
            let mut command = command(BINARY, data);
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
async fn a_token_is_signed_with_the_key_of_a_shop_and_no_other() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let token = async |data: &Path, variables: &[(&str, &str)]| {
        let mut command = command(BINARY, data);
        command
            .args(["token", "--user", "7"])
            .env_remove("JWT_SECRET")
            .envs(variables.iter().copied());
        command.output().await
    };
    // Without a shop, no key is generated.
    let (empty, nowhere) = (folder.path().join("empty"), folder.path().join("no/where"));
    std::fs::create_dir(&empty)?;
    for data in [&empty, &nowhere] {
        let output = token(data, &[]).await?;
        assert_refused(&output, 1, &["JWT_SECRET", "no shop has made a key", "DATA_DIR"]);
        assert_eq!(stdout(&output), "");
    }
    assert!(!nowhere.exists() && std::fs::read_dir(&empty)?.next().is_none());
    // Beside a running shop, and after its end.
    let data = folder.path().join("data");
    let mut own_secret = command(BINARY, &data);
    own_secret.env_remove("JWT_SECRET");
    let shop = ShopProcess::open(own_secret).await?;
    ensure!(token(&data, &[]).await?.status.success());
    shop.stop().await?;
    ensure!(token(&data, &[]).await?.status.success());
    // With a key from the variable no directory is needed.
    let secret = [("JWT_SECRET", system_tests::process::SECRET)];
    ensure!(token(&nowhere, &secret).await?.status.success());
    assert!(!nowhere.exists());
    Ok(())
}

#[tokio::test]
async fn a_shop_with_audience_and_issuer_accepts_only_its_tokens() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let named = [("JWT_AUDIENCE", "shop"), ("JWT_ISSUER", "me")];
    let mut serve = command(BINARY, folder.path());
    serve.envs(named);
    let shop = ShopProcess::open(serve).await?;
    let ask = async |token: &Output| cart_with(&shop, stdout(token)).await;
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
