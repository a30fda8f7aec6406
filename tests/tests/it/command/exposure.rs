//! Which addresses are open to whom, and what the banner, the log and readiness say about the shop.

use std::net::Ipv4Addr;

use anyhow::{Context, ensure};
use serde_json::json;
use system_tests::{
    process::{GRPC_HOST, ShopProcess, command},
    shopping::buy_mouse,
};
use tokio::net::TcpStream;

use super::{banner::banner_of, run, stdout};
use crate::BINARY;

/// Another address of this machine: only a listener on 0.0.0.0 is reachable here.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const OPEN: [(&str, &str); 3] = [
    ("GRPC_HOST", "0.0.0.0"),
    ("ADMIN_HOST", "0.0.0.0"),
    ("GRPC_PLAINTEXT", "trusted-network"),
];

#[tokio::test]
async fn the_gateways_host_opens_no_service() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut serve = command(BINARY, folder.path());
    serve.env_remove("GRPC_HOST").env("HOST", "0.0.0.0");
    let shop = ShopProcess::open(serve).await?;
    for (service, address) in &shop.addresses {
        let reached = TcpStream::connect((ELSEWHERE, address.port())).await;
        assert_eq!(reached.is_ok(), service == "gateway", "{service} at {address}");
    }
    assert!(TcpStream::connect((ELSEWHERE, shop.admin.port())).await.is_err());
    assert_eq!(shop.addresses.len(), 8);
    shop.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_shop_in_one_process_sells_with_its_services_apart_from_its_gateway() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut serve = command(BINARY, folder.path());
    serve.env("HOST", "127.0.0.1").env("GRPC_HOST", GRPC_HOST.to_string());
    let shop = ShopProcess::open(serve).await?;
    for (service, address) in &shop.addresses {
        let host = if service == "gateway" {
            Ipv4Addr::LOCALHOST
        } else {
            GRPC_HOST
        };
        assert_eq!(address.ip(), host, "{service}");
    }
    buy_mouse(&shop.customer("ada")?, "k").await?;
    let inventory = format!("http://{}", shop.addresses["inventory"]);
    let mut inventory =
        proto::inventory::v1::inventory_service_client::InventoryServiceClient::connect(inventory).await?;
    let asked = proto::inventory::v1::GetStockRequest { product_ids: vec![2] };
    ensure!(!inventory.get_stock(asked).await?.into_inner().stock.is_empty());
    shop.stop().await?;
    Ok(())
}

#[tokio::test]
async fn the_banner_says_what_is_open_to_whom() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let lines = |text: &str| {
        let lines = text.lines().skip_while(|line| *line != "Open to:").skip(2).take(3);
        let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        lines.map(line).collect::<Vec<_>>()
    };
    let (mut child, text) = banner_of(command(BINARY, &data), folder.path()).await?;
    child.kill().await?;
    assert_eq!(
        lines(&text),
        [
            "gateway this machine only; customers have tokens; without encryption",
            "services this machine only, without credentials; without encryption",
            "health this machine only, without credentials; without encryption"
        ]
    );
    let mut open = command(BINARY, &data);
    open.envs(OPEN);
    let (mut child, text) = banner_of(open, folder.path()).await?;
    child.kill().await?;
    assert_eq!(
        lines(&text),
        [
            "gateway this machine only; customers have tokens; without encryption",
            "services everybody who reaches 0.0.0.0, without credentials; without encryption",
            "health everybody who reaches 0.0.0.0, without credentials; without encryption"
        ]
    );
    Ok(())
}

#[tokio::test]
async fn a_process_without_services_ignores_their_host() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut front = command(BINARY, folder.path());
    front.args(["serve", "gateway"]).env("GRPC_HOST", "0.0.0.0");
    ShopProcess::open(front).await?.stop().await?;
    // A host that no service binds is a likely mistake after an upgrade.
    let mut goods = command(BINARY, folder.path());
    goods.args(["serve", "product"]).env("HOST", "0.0.0.0");
    let (_, stderr) = ShopProcess::open(goods).await?.stop().await?;
    assert!(stderr.contains("HOST: ") && stderr.contains("GRPC_HOST"), "{stderr}");
    Ok(())
}

#[tokio::test]
async fn a_shop_says_that_its_payment_provider_is_simulated() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let (mut child, text) = banner_of(command(BINARY, &data), folder.path()).await?;
    child.kill().await?;
    let line = text.lines().find(|line| line.trim_start().starts_with("provider"));
    assert!(
        line.is_some_and(|line| line.contains("simulated: no money moves")),
        "{text}"
    );
    let config = stdout(&run(&data, &["config"], &[]).await?);
    let line = config.lines().find(|line| line.starts_with("PAYMENT_PROVIDER"));
    let words: Vec<_> = line
        .context("it is not in the configuration")?
        .split_whitespace()
        .collect();
    assert_eq!(words, ["PAYMENT_PROVIDER", "simulated", "default"]);

    let shop = ShopProcess::open(command(BINARY, &data)).await?;
    let health = shop.health().await?;
    assert_eq!(health.status.as_u16(), 200, "{health:?}");
    assert_eq!(
        (&health.json()["status"], &health.json()["notes"]),
        (&json!("ok"), &json!({"payment-provider": "simulated"}))
    );
    let (_, stderr) = shop.stop().await?;
    assert_eq!(
        stderr.matches("the payment provider is simulated").count(),
        1,
        "{stderr}"
    );
    // A process without the payment service does not mention the provider.
    let mut goods = command(BINARY, &folder.path().join("goods"));
    goods.args(["serve", "product"]);
    let goods = ShopProcess::open(goods).await?;
    assert_eq!(goods.health().await?.json()["notes"], json!(null));
    let (_, stderr) = goods.stop().await?;
    assert!(!stderr.contains("simulated"), "{stderr}");
    Ok(())
}

#[tokio::test]
async fn a_shop_with_test_hooks_warns() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut serve = command(BINARY, folder.path());
    serve
        .env("CARTWRIGHT_TEST_HOOKS", "abort-this-process")
        .env("CARTWRIGHT_CRASH_AT", "commit:nothing:before");
    let (_, stderr) = ShopProcess::open(serve).await?.stop().await?;
    assert!(
        stderr.contains("CARTWRIGHT_CRASH_AT") && stderr.contains("may abort at any time"),
        "{stderr}"
    );
    Ok(())
}
