//! What is open to whom, and what a shop says of itself when it starts.

use std::{net::Ipv4Addr, path::Path};

use anyhow::{Context, ensure};
use serde_json::json;
use system_tests::process::{GRPC_HOST, ShopProcess, command};
use tokio::net::TcpStream;

use super::{BINARY, banner::banner_of, printed, run};

/// Another address of this machine, where nobody listens who was not told to listen everywhere.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const OPEN: [(&str, &str); 3] = [
    ("GRPC_HOST", "0.0.0.0"),
    ("ADMIN_HOST", "0.0.0.0"),
    ("GRPC_PLAINTEXT", "trusted-network"),
];

#[tokio::test]
async fn the_gateways_host_opens_no_service() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut serve = command(Path::new(BINARY), folder.path());
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
    let mut serve = command(Path::new(BINARY), folder.path());
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
    let ada = shop.customer("ada")?;
    let line = json!({"product_id": 2, "quantity": 1});
    ada.post("/api/v1/cart/items", &line).await?;
    let checkout = ada
        .post("/api/v1/checkout", &json!({"idempotency_key": "k"}))
        .await?
        .json();
    assert_eq!(checkout["status"], "COMPLETED", "{checkout}");
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
    let doors = |text: &str| {
        let doors = text.lines().skip_while(|line| *line != "Open to:").skip(2).take(3);
        let door = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        doors.map(door).collect::<Vec<_>>()
    };
    let (mut child, text) = banner_of(command(Path::new(BINARY), &data), folder.path()).await?;
    child.kill().await?;
    assert_eq!(
        doors(&text),
        [
            "gateway this machine only; customers have tokens; without encryption",
            "services this machine only, without credentials; without encryption",
            "health this machine only, without credentials; without encryption"
        ]
    );
    let mut open = command(Path::new(BINARY), &data);
    open.envs(OPEN);
    let (mut child, text) = banner_of(open, folder.path()).await?;
    child.kill().await?;
    assert_eq!(
        doors(&text),
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
    let mut front = command(Path::new(BINARY), folder.path());
    front.args(["serve", "gateway"]).env("GRPC_HOST", "0.0.0.0");
    ShopProcess::open(front).await?.stop().await?;
    // A host that nobody binds is a mistake of somebody who upgrades.
    let mut goods = command(Path::new(BINARY), folder.path());
    goods.args(["serve", "product"]).env("HOST", "0.0.0.0");
    let (_, said) = ShopProcess::open(goods).await?.stop().await?;
    assert!(said.contains("HOST: ") && said.contains("GRPC_HOST"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_shop_says_that_its_payment_provider_is_simulated() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let (mut child, text) = banner_of(command(Path::new(BINARY), &data), folder.path()).await?;
    child.kill().await?;
    let line = text.lines().find(|line| line.trim_start().starts_with("provider"));
    assert!(
        line.is_some_and(|line| line.contains("simulated: no money moves")),
        "{text}"
    );
    let config = printed(&run(&data, &["config"], &[]).await?);
    let line = config.lines().find(|line| line.starts_with("PAYMENT_PROVIDER"));
    let words: Vec<_> = line
        .context("it is not in the configuration")?
        .split_whitespace()
        .collect();
    assert_eq!(words, ["PAYMENT_PROVIDER", "simulated", "default"]);

    let shop = ShopProcess::open(command(Path::new(BINARY), &data)).await?;
    let health = shop.health().await?;
    assert_eq!(health.status.as_u16(), 200, "{health:?}");
    assert_eq!(
        (&health.json()["status"], &health.json()["notes"]),
        (&json!("ok"), &json!({"payment-provider": "simulated"}))
    );
    let (_, said) = shop.stop().await?;
    assert_eq!(said.matches("the payment provider is simulated").count(), 1, "{said}");
    // Where no payments are made, nobody says how.
    let mut goods = command(Path::new(BINARY), &folder.path().join("goods"));
    goods.args(["serve", "product"]);
    let goods = ShopProcess::open(goods).await?;
    assert_eq!(goods.health().await?.json()["notes"], json!(null));
    let (_, said) = goods.stop().await?;
    assert!(!said.contains("simulated"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_shop_with_test_hooks_warns() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut serve = command(Path::new(BINARY), folder.path());
    serve
        .env("CARTWRIGHT_TEST_HOOKS", "abort-this-process")
        .env("CARTWRIGHT_CRASH_AT", "commit:nothing:before");
    let (_, said) = ShopProcess::open(serve).await?.stop().await?;
    assert!(
        said.contains("CARTWRIGHT_CRASH_AT") && said.contains("may abort at any time"),
        "{said}"
    );
    Ok(())
}
