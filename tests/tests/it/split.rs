//! One shop in three processes, each with a data directory of its own, over TCP.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, bail, ensure};
use cartwright::{ServiceName, http::Customer};
use futures::stream::{FuturesUnordered, StreamExt};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use system_tests::{
    books,
    process::{ShopProcess, command},
    shops::until,
};

const BINARY: &str = env!("CARGO_BIN_EXE_shop");

/// Starts some services that find the others where those listen.
async fn start(data: &Path, services: &[&str], others: &[&ShopProcess]) -> anyhow::Result<ShopProcess> {
    let mut serve = command(Path::new(BINARY), data);
    serve.arg("serve").args(services).env("LOG_LEVEL", "info");
    for (name, address) in others.iter().flat_map(|process| &process.addresses) {
        serve.env(format!("{}_SERVICE_ADDR", name.to_uppercase()), address.to_string());
    }
    ShopProcess::open(serve).await
}

/// A shop in three processes: goods, sales, and the gateway in front.
async fn start_three(folder: &Path) -> anyhow::Result<[ShopProcess; 3]> {
    let goods = start(&folder.join("goods"), &["product", "inventory", "payment"], &[]).await?;
    let sales = ["checkout", "cart", "orders", "notification"];
    let sales = start(&folder.join("sales"), &sales, &[&goods]).await?;
    let front = start(&folder.join("front"), &["gateway"], &[&goods, &sales]).await?;
    Ok([goods, sales, front])
}

#[tokio::test]
async fn a_shop_in_three_processes_sells_and_reports_a_process_that_is_down() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let [goods, sales, front] = start_three(folder.path()).await?;
    let ada = front.customer("ada")?;

    let added = ada
        .post("/api/v1/cart/items", &json!({"product_id": 2, "quantity": 1}))
        .await?;
    ensure!(added.status == StatusCode::CREATED, "{added:?}");
    let checkout = ada
        .post("/api/v1/checkout", &json!({"idempotency_key": "split"}))
        .await?
        .json();
    assert_eq!(checkout["status"], "COMPLETED", "{checkout}");
    let order = format!("/api/v1/orders/{}", checkout["order_id"].as_str().unwrap_or_default());
    until("the order is there", async || {
        Ok((ada.get(&order).await?.status == StatusCode::OK).then_some(()))
    })
    .await?;

    goods.kill().await?;
    let away = ada.get("/api/v1/products").await?;
    assert_eq!(away.status, StatusCode::SERVICE_UNAVAILABLE, "{away:?}");
    assert_eq!(
        (&away.json()["reason"], &away.headers["retry-after"]),
        (&json!("SERVICE_UNAVAILABLE"), &"1".parse()?)
    );
    assert_eq!(
        ada.get(&order).await?.status,
        StatusCode::OK,
        "what is not away goes on"
    );
    front.stop().await?;
    sales.stop().await?;
    Ok(())
}

/// The services that have a line with this request id in these logs.
pub(crate) fn services_that_logged(request_id: &str, logs: &[String]) -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for line in logs
        .iter()
        .flat_map(|log| log.lines())
        .filter(|line| line.starts_with('{'))
    {
        let line: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let spans = line["spans"].as_array().cloned().unwrap_or_default();
        let field = |name| spans.iter().find_map(|span| span[name].as_str());
        if field("request_id") == Some(request_id) {
            ensure!(field("trace_id").is_some_and(|id| id.len() == 32), "{line}");
            found.insert(field("service").with_context(|| line.to_string())?.to_owned());
        }
    }
    Ok(found)
}

/// Buys something in a request with this id, and waits for the order.
pub(crate) async fn buy_in_request(customer: &Customer, request_id: &str) -> anyhow::Result<Value> {
    let item = json!({"product_id": 2, "quantity": 1});
    customer.post("/api/v1/cart/items", &item).await?;
    let purchase = json!({"idempotency_key": request_id});
    let mut request = customer.request(Method::POST, "/api/v1/checkout", Some(&purchase))?;
    request.headers_mut().insert("x-request-id", request_id.parse()?);
    let bought = cartwright::http::send(customer.gateway, request).await?.json();
    ensure!(bought["status"] == "COMPLETED", "{bought}");
    let order = format!("/api/v1/orders/{}", bought["order_id"].as_str().unwrap_or_default());
    until("the order is there", async || {
        Ok((customer.get(&order).await?.status == StatusCode::OK).then_some(()))
    })
    .await?;
    Ok(bought)
}

#[tokio::test]
async fn a_purchase_is_found_in_the_logs_of_all_services_by_its_request_id() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let goods = start(&folder.path().join("goods"), &["product", "inventory", "payment"], &[]).await?;
    let sales = ["checkout", "cart", "orders", "notification"];
    let sales = start(&folder.path().join("sales"), &sales, &[&goods]).await?;
    let front = start(&folder.path().join("front"), &["gateway"], &[&goods, &sales]).await?;
    let bought = buy_in_request(&front.customer("ada")?, "find-this-one").await?;
    books::settle(folder.path().join("sales").as_path()).await?;
    let mut logs = Vec::new();
    for process in [front, sales, goods] {
        logs.push(process.stop().await?.1);
    }
    let found = services_that_logged("find-this-one", &logs)?;
    assert_eq!(
        found,
        ServiceName::ALL.map(|service| service.as_str().to_owned()).into()
    );
    let about = format!("checkout {}", bought["checkout_id"].as_str().unwrap_or_default());
    assert!(logs[2].contains(&about), "inventory and payment say what it was about");
    Ok(())
}

/// More than one connection between two processes carries.
const WAITING: usize = 256;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_checkouts_of_one_customer_do_not_block_other_customers() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let [goods, _sales, front] = start_three(folder.path()).await?;
    let (greedy, other) = (front.customer("greedy")?, front.customer("other")?);
    let added = greedy
        .post("/api/v1/cart/items", &json!({"product_id": 2, "quantity": 1}))
        .await?;
    ensure!(added.status == StatusCode::CREATED, "{added:?}");
    goods.freeze().await?;

    let purchase = json!({"idempotency_key": "one"});
    let mut purchases: FuturesUnordered<_> = (0..WAITING + 10)
        .map(|_| greedy.post("/api/v1/checkout", &purchase))
        .collect();
    // Once some are refused, all that this customer may have are waiting.
    for _ in 0..10 {
        let refused = purchases.next().await.context("the others wait")??;
        ensure!(refused.status == StatusCode::TOO_MANY_REQUESTS, "{refused:?}");
    }
    let unknown = "/api/v1/checkout/01900000-0000-7000-8000-000000000001";
    let answered = tokio::select! {
        biased;
        answered = other.get(unknown) => answered?,
        ended = purchases.next() => bail!("it waits for those: {ended:?}"),
    };
    assert_eq!(answered.status, StatusCode::NOT_FOUND, "{answered:?}");
    goods.thaw().await?;
    let mut bought = 0;
    while let Some(answer) = purchases.next().await {
        bought += usize::from(answer?.json()["status"] == "COMPLETED");
    }
    assert!(bought > 0, "they wait for their own purchase only");
    Ok(())
}
