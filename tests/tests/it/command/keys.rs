//! The keys of tokens: generated once, and replaced without breaking tokens.

use std::{collections::BTreeSet, path::Path};

use anyhow::ensure;
use futures::future::try_join_all;
use system_tests::process::{ShopProcess, command};

use super::{cart_with, stdout};
use crate::BINARY;

/// A token of customer 7, signed in this data directory with these variables.
async fn token(data: &Path, variables: &[(&str, &str)]) -> anyhow::Result<String> {
    let mut command = command(BINARY, data);
    let command = command.args(["token", "--user", "7"]).env_remove("JWT_SECRET");
    let output = command.envs(variables.iter().copied()).output().await?;
    ensure!(output.status.success(), "{output:?}");
    Ok(stdout(&output))
}

/// A gateway without services: it checks the token before it calls any service.
async fn gateway(data: &Path, variables: &[(&str, &str)]) -> anyhow::Result<ShopProcess> {
    let mut serve = command(BINARY, data);
    serve.args(["serve", "gateway"]).env_remove("JWT_SECRET");
    serve.envs(variables.iter().copied());
    for service in ["PRODUCT", "CART", "CHECKOUT", "ORDERS"] {
        serve.env(format!("{service}_SERVICE_ADDR"), "127.0.0.1:1");
    }
    ShopProcess::open(serve).await
}

/// Whether the gateway accepts the token. It answers 503 then, because its services are down.
async fn accepts(gateway: &ShopProcess, token: &str) -> anyhow::Result<bool> {
    let status = cart_with(gateway, token.to_owned()).await?.status.as_u16();
    ensure!([401, 503].contains(&status), "{status}");
    Ok(status == 503)
}

#[tokio::test]
async fn gateways_that_generate_the_key_concurrently_agree_on_one() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    for round in 0..3 {
        let data = folder.path().join(round.to_string());
        let gateways = try_join_all((0..8).map(|_| gateway(&data, &[]))).await?;
        let token = token(&data, &[]).await?;
        for gateway in gateways {
            assert!(accepts(&gateway, &token).await?);
            gateway.stop().await?;
        }
        let names: BTreeSet<_> = std::fs::read_dir(&data)?
            .map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default()))
            .collect::<anyhow::Result<_>>()?;
        assert_eq!(names, BTreeSet::from(["jwt.key".to_owned()]));
    }
    Ok(())
}

#[tokio::test]
async fn a_key_is_replaced_while_tokens_of_the_previous_key_are_accepted() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let key = folder.path().join("jwt.key");
    gateway(folder.path(), &[]).await?.stop().await?;
    let old = token(folder.path(), &[]).await?;
    // As in the README: the generated key becomes the previous one, and the shop generates a new one.
    let previous = std::fs::read_to_string(&key)?;
    std::fs::remove_file(&key)?;
    let rotating = [("JWT_SECRET_PREVIOUS", previous.as_str())];
    let shop = gateway(folder.path(), &rotating).await?;
    let new = token(folder.path(), &rotating).await?;
    assert_ne!(std::fs::read_to_string(&key)?, previous);
    assert!(accepts(&shop, &old).await? && accepts(&shop, &new).await?);
    shop.stop().await?;
    // After the old tokens have expired.
    let shop = gateway(folder.path(), &[("JWT_SECRET_PREVIOUS", "")]).await?;
    assert!(!accepts(&shop, &old).await? && accepts(&shop, &new).await?);
    shop.stop().await?;
    // The same with keys from variables.
    let set = [("JWT_SECRET", "a key that takes the place of the others"), rotating[0]];
    let shop = gateway(folder.path(), &set).await?;
    let newest = token(folder.path(), &set).await?;
    assert!(accepts(&shop, &old).await? && accepts(&shop, &newest).await? && !accepts(&shop, &new).await?);
    shop.stop().await?;
    Ok(())
}
