//! One shop in three processes over TCP, each with a data directory of its own.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, bail, ensure};
use cartwright::{ServiceName, http::Customer};
use futures::stream::{FuturesUnordered, StreamExt};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use system_tests::{
    books,
    process::{ShopProcess, command},
    shopping::{add, buy_mouse, wait_for_order},
};

use crate::BINARY;

/// Starts some services with the addresses of the others.
async fn start(data: &Path, services: &[&str], others: &[&ShopProcess]) -> anyhow::Result<ShopProcess> {
    let mut serve = command(BINARY, data);
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

    let checkout = buy_mouse(&ada, "split").await?;
    let order = wait_for_order(&ada, &checkout).await?;

    goods.kill().await?;
    let down = ada.get("/api/v1/products").await?;
    assert_eq!(down.status, StatusCode::SERVICE_UNAVAILABLE, "{down:?}");
    assert_eq!(
        (&down.json()["reason"], &down.headers["retry-after"]),
        (&json!("SERVICE_UNAVAILABLE"), &"1".parse()?)
    );
    assert_eq!(ada.get(&order).await?.status, StatusCode::OK, "other processes go on");
    front.stop().await?;
    sales.stop().await?;
    Ok(())
}

/// The services with a line of this request id in these logs.
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

/// Buys something with this request id, and waits for the order.
pub(crate) async fn buy_in_request(customer: &Customer, request_id: &str) -> anyhow::Result<Value> {
    add(customer, 2, 1).await?;
    let purchase = json!({"idempotency_key": request_id});
    let mut request = customer.request(Method::POST, "/api/v1/checkout", Some(&purchase))?;
    request.headers_mut().insert("x-request-id", request_id.parse()?);
    let bought = cartwright::http::send(customer.gateway, request).await?.json();
    ensure!(bought["status"] == "COMPLETED", "{bought}");
    wait_for_order(customer, &bought).await?;
    Ok(bought)
}

#[tokio::test]
async fn a_purchase_is_found_in_the_logs_of_all_services_by_its_request_id() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let [goods, sales, front] = start_three(folder.path()).await?;
    let bought = buy_in_request(&front.customer("ada")?, "find-this-one").await?;
    books::wait_until_idle(folder.path().join("sales").as_path()).await?;
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

/// More calls than one connection between two processes carries.
const WAITING: usize = 256;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_checkouts_of_one_customer_do_not_block_other_customers() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let [goods, _sales, front] = start_three(folder.path()).await?;
    let (greedy, other) = (front.customer("greedy")?, front.customer("other")?);
    add(&greedy, 2, 1).await?;
    goods.pause().await?;

    let purchase = json!({"idempotency_key": "one"});
    let mut purchases: FuturesUnordered<_> = (0..WAITING + 10)
        .map(|_| greedy.post("/api/v1/checkout", &purchase))
        .collect();
    // Once some checkouts are refused, this customer has used all its permits.
    for _ in 0..10 {
        let refused = purchases.next().await.context("the others wait")??;
        ensure!(refused.status == StatusCode::TOO_MANY_REQUESTS, "{refused:?}");
    }
    let unknown = "/api/v1/checkout/01900000-0000-7000-8000-000000000001";
    let answered = tokio::select! {
        biased;
        answered = other.get(unknown) => answered?,
        ended = purchases.next() => bail!("the other customer waits: {ended:?}"),
    };
    assert_eq!(answered.status, StatusCode::NOT_FOUND, "{answered:?}");
    goods.resume().await?;
    let mut bought = 0;
    while let Some(answer) = purchases.next().await {
        bought += usize::from(answer?.json()["status"] == "COMPLETED");
    }
    assert!(bought > 0, "no waiting checkout was completed");
    Ok(())
}
