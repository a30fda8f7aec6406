//! What customers of a shop in another process do, and the stock that they buy.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use cartwright::http::Customer;
use http::{Method, StatusCode};
use proto::inventory::v1::{AddStockRequest, inventory_service_client::InventoryServiceClient};
use serde_json::{Value, json};

use crate::shops::until;

/// Puts pieces of a product into the cart. The response must be 201 for a new line, and 200 for more of a line.
pub async fn add(customer: &Customer, product: i64, quantity: i64) -> Result<()> {
    let item = json!({"product_id": product, "quantity": quantity});
    let reply = customer.post("/api/v1/cart/items", &item).await?;
    let cart = reply.json();
    let mut lines = cart["items"].as_array().into_iter().flatten();
    let line = lines.find(|line| line["product_id"] == product);
    let expected = match line {
        Some(line) if line["quantity"] != quantity => StatusCode::OK,
        _ => StatusCode::CREATED,
    };
    ensure!(line.is_some() && reply.status == expected, "not {expected}: {reply:?}");
    Ok(())
}

/// Asks once to buy what is in the cart; `None` unless the purchase has ended.
pub async fn check_out(customer: &Customer, key: &str, method: &str) -> Result<Option<Value>> {
    let body = json!({"idempotency_key": key, "payment_method": method});
    let reply = customer.post("/api/v1/checkout", &body).await?;
    Ok((reply.status == StatusCode::CREATED).then(|| reply.json()))
}

/// Buys what is in the cart; returns the completed checkout.
pub async fn buy(customer: &Customer, key: &str) -> Result<Value> {
    let reply = customer
        .post("/api/v1/checkout", &json!({"idempotency_key": key}))
        .await?;
    let is_completed = reply.json()["status"] == "COMPLETED";
    ensure!(reply.status == StatusCode::CREATED && is_completed, "{reply:?}");
    Ok(reply.json())
}

/// Buys one mouse; returns the completed checkout.
pub async fn buy_mouse(customer: &Customer, key: &str) -> Result<Value> {
    add(customer, 2, 1).await?;
    buy(customer, key).await
}

/// Fills and empties a cart until `over` ends. Calls `after_round` with the duration of each round. Returns how many rounds
/// were complete before `over` ended, and its output.
pub async fn use_cart_until<T>(
    customer: &Customer,
    over: impl Future<Output = T>,
    mut after_round: impl FnMut(Duration) -> Result<()>,
) -> Result<(usize, T)> {
    let (mut rounds, mut over) = (0, std::pin::pin!(over));
    loop {
        let round = async {
            let began = Instant::now();
            add(customer, 2, 1).await?;
            let emptied = customer.call(Method::DELETE, "/api/v1/cart", None).await?;
            ensure!(emptied.status.is_success(), "{emptied:?}");
            anyhow::Ok(began.elapsed())
        };
        let mut round = std::pin::pin!(round);
        tokio::select! {
            biased;
            took = &mut round => after_round(took?)?,
            ended = &mut over => {
                after_round(round.await?)?;
                return Ok((rounds, ended));
            }
        }
        rounds += 1;
    }
}

/// Waits until the order of a checkout can be read; returns its path.
pub async fn wait_for_order(customer: &Customer, checkout: &Value) -> Result<String> {
    let order = checkout["order_id"].as_str().context("no order_id")?;
    let path = format!("/api/v1/orders/{order}");
    until("the order is there", async || {
        Ok(customer.get(&path).await?.status == StatusCode::OK)
    })
    .await?;
    Ok(path)
}

/// Receives more pieces of products 2 to 5 than any test buys.
pub async fn stock_up(inventory: SocketAddr) -> Result<()> {
    let mut inventory = InventoryServiceClient::connect(format!("http://{inventory}")).await?;
    for product_id in 2..=5 {
        let delivery = AddStockRequest {
            product_id,
            quantity: 1_000_000,
            idempotency_key: format!("delivery of {product_id}"),
        };
        inventory.add_stock(delivery).await?;
    }
    Ok(())
}
