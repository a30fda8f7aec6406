//! The readiness of a gateway whose services are other processes.

use anyhow::Result;
use http::StatusCode;
use serde_json::json;
use system_tests::process::{ShopProcess, command};

use crate::BINARY;

/// A port without a listener.
const NOWHERE: &str = "127.0.0.1:1";

#[tokio::test]
async fn a_gateway_alone_reports_which_services_it_reaches() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut goods = command(BINARY, &folder.path().join("goods"));
    goods.args(["serve", "product"]);
    let goods = ShopProcess::open(goods).await?;
    let mut front = command(BINARY, &folder.path().join("front"));
    front.args(["serve", "gateway"]);
    for service in ["CART", "CHECKOUT", "ORDERS"] {
        front.env(format!("{service}_SERVICE_ADDR"), NOWHERE);
    }
    front.env("PRODUCT_SERVICE_ADDR", goods.addresses["product"].to_string());
    let front = ShopProcess::open(front).await?;

    let some = front.health().await?;
    assert_eq!(some.status, StatusCode::OK, "it sells what it can: {some:?}");
    let dependencies =
        json!({"product": "up", "cart": "down", "checkout": "down", "orders": "down", "any-service": "up"});
    assert_eq!(some.json(), json!({"status": "degraded", "dependencies": dependencies}));

    goods.kill().await?;
    let none = front.health().await?;
    assert_eq!(none.status, StatusCode::SERVICE_UNAVAILABLE, "{none:?}");
    assert_eq!(none.json()["dependencies"]["product"], "down");
    front.stop().await?;
    Ok(())
}
