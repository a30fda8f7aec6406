//! Holds on carts while one process of the cart does not answer.

use std::time::Duration;

use anyhow::{Result, ensure};
use cartwright::http::{Customer, HttpResponse, send};
use futures::future::try_join_all;
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use system_tests::{
    books,
    shops::{until, wait_for},
};
use tokio::time::Instant;

use super::fleet::Fleet;

const CUSTOMERS: usize = 16;
/// How long the process is suspended. Its calls are retried at the other process meanwhile.
const STALL: Duration = Duration::from_mins(1);

/// Retries until the request succeeds: every other call goes to the suspended process.
async fn answered(what: &str, mut ask: impl AsyncFnMut() -> Result<HttpResponse>) -> Result<Value> {
    wait_for(what, async || {
        let reply = ask().await?;
        ensure!(!reply.status.is_client_error(), "{what}: {reply:?}");
        let has_ended = matches!(reply.status, StatusCode::OK | StatusCode::CREATED);
        Ok(has_ended.then(|| reply.json()))
    })
    .await
}

/// Adds pieces once under this idempotency key, whatever happens to the answers.
async fn add(customer: &Customer, quantity: i64, key: &'static str) -> Result<()> {
    let item = json!({"product_id": 2, "quantity": quantity});
    let added = answered("the pieces are in the cart", async || {
        let mut request = customer.request(Method::POST, "/api/v1/cart/items", Some(&item))?;
        let headers = request.headers_mut();
        headers.insert("idempotency-key", HeaderValue::from_static(key));
        send(customer.gateway, request).await
    });
    added.await.map(drop)
}

async fn cart(customer: &Customer) -> Result<Value> {
    answered("the cart is shown", async || customer.get("/api/v1/cart").await).await
}

on_engines! { a_hold_delayed_in_a_paused_process_takes_no_items_added_later }

async fn a_hold_delayed_in_a_paused_process_takes_no_items_added_later() -> Result<()> {
    let mut fleet = Fleet::with_two_of("cart").await?;
    let names: Vec<_> = (0..CUSTOMERS).map(|n| format!("customer-{n}")).collect();
    let customers = names
        .iter()
        .map(|name| fleet.customer(name))
        .collect::<Result<Vec<_>>>()?;
    try_join_all(customers.iter().map(|customer| add(customer, 3, "first"))).await?;

    let (stopped, began) = (fleet.index("cart-a")?, Instant::now());
    let purchases = customers.iter().map(async |customer| {
        let body = json!({"idempotency_key": "k", "payment_method": "pm_card_declined"});
        answered("the card is declined", async || {
            customer.post("/api/v1/checkout", &body).await
        })
        .await
    });
    // Suspends the process during the purchases.
    let stop = async {
        let first = "SELECT 1 FROM checkouts LIMIT 1";
        until("a purchase has begun", async || {
            let found: Vec<(i64,)> = fleet.home.rows("checkout", first).await?;
            Ok(!found.is_empty())
        })
        .await?;
        fleet.process(stopped)?.pause().await
    };
    let (purchases, stop) = futures::future::join(try_join_all(purchases), stop).await;
    stop?;
    for purchase in purchases? {
        ensure!(purchase["failure"]["reason"] == "CARD_DECLINED", "{purchase}");
    }
    try_join_all(customers.iter().map(|customer| add(customer, 1, "second"))).await?;
    tokio::time::sleep_until(began + STALL).await;
    fleet.process(stopped)?.resume().await?;
    until("it is back", async || {
        let health = fleet.process(stopped)?.health().await?;
        Ok(health.status == StatusCode::OK)
    })
    .await?;

    books::wait_until_idle(&fleet.home).await?;
    for customer in &customers {
        let cart = cart(customer).await?;
        let pieces: Vec<_> = cart["items"].as_array().into_iter().flatten().collect();
        ensure!(pieces.len() == 1 && pieces[0]["quantity"] == 4, "{cart}");
        ensure!(cart["in_checkout"] == json!([]), "{cart}");
    }
    let bought = customers.iter().map(async |customer| {
        let body = json!({"idempotency_key": "k2"});
        answered("all is bought", async || customer.post("/api/v1/checkout", &body).await).await
    });
    for purchase in try_join_all(bought).await? {
        ensure!(purchase["items"][0]["quantity"] == 4, "{purchase}");
    }
    books::check(&fleet.home).await?;
    fleet.close().await?;
    Ok(())
}
