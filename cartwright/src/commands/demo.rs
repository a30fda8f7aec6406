//! `cartwright demo`: a purchase, a declined card, too little stock and a double click, through the REST interface.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{CommandResult, print_line};
use crate::{
    Config, Overrides, ServiceName, Shop,
    http::{Customer, HttpResponse},
    secret,
};

/// How long an event may take to become an order.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn run() -> CommandResult {
    let folder = tempfile::tempdir().context("no temporary directory could be made")?;
    let config = Config::embedded(folder.path().to_owned())?;
    let shop = Shop::start(&config, Overrides::default()).await?;
    let result = run_scenarios(&config, &shop).await;
    shop.stop().await;
    Ok(result?)
}

async fn run_scenarios(config: &Config, shop: &Shop) -> anyhow::Result<()> {
    let gateway = shop
        .address(ServiceName::Gateway)
        .context("the gateway is not running")?;
    let secret = secret::token_keys(&config.settings)?.current;
    let now = Overrides::default().runtime.clock.now();
    let customer = |name: &str| -> anyhow::Result<PrintingCustomer> {
        let token = gateway::token::sign(&secret, name, None, Duration::from_hours(1), now)?;
        Ok(PrintingCustomer(Customer {
            gateway,
            token: Some(token),
        }))
    };
    purchase(&customer("ada")?).await?;
    declined_card(&customer("grace")?).await?;
    out_of_stock(&customer("linus")?, &customer("margaret")?).await?;
    double_click(&customer("dennis")?).await?;
    print_line("\nAll of it came out right.")?;
    Ok(())
}

struct PrintingCustomer(Customer);

impl PrintingCustomer {
    /// Sends a request and prints it, its answer and the time it took.
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<HttpResponse> {
        let sent = body.as_ref().map(|body| format!(" {body}")).unwrap_or_default();
        let began = Instant::now();
        let reply = self.0.call(method.clone(), path, body.as_ref()).await?;
        let took = began.elapsed();
        print_line(&format!("\n{method} {path}{sent}\n  {} in {:.1?}", reply.status, took))?;
        print_line(&format!("  {}", String::from_utf8_lossy(&reply.body)))?;
        Ok(reply)
    }

    async fn get(&self, path: &str) -> anyhow::Result<HttpResponse> {
        self.call(Method::GET, path, None).await
    }

    async fn add(&self, product: i64, quantity: i64) -> anyhow::Result<HttpResponse> {
        let body = json!({"product_id": product, "quantity": quantity});
        let reply = self.call(Method::POST, "/api/v1/cart/items", Some(body)).await?;
        ensure!(reply.status == StatusCode::CREATED, "the cart did not take the product");
        Ok(reply)
    }

    async fn buy(&self, key: &str, method: &str) -> anyhow::Result<Value> {
        let body = json!({"idempotency_key": key, "payment_method": method});
        let reply = self.call(Method::POST, "/api/v1/checkout", Some(body)).await?;
        ensure!(reply.status == StatusCode::CREATED, "the checkout was not answered");
        Ok(reply.json())
    }

    async fn history(&self, checkout: &Value) -> anyhow::Result<Vec<String>> {
        let path = format!("/api/v1/checkout/{}", text(&checkout["checkout_id"]));
        let history = self.0.get(&path).await?.json()["history"].clone();
        print_line("\nThe history of its saga:")?;
        let entries = history.as_array().context("there is no history")?;
        for entry in entries {
            print_line(&format!(
                "  {}  {:<19} {}",
                text(&entry["at"]),
                text(&entry["status"]),
                text(&entry["detail"])
            ))?;
        }
        Ok(entries.iter().map(|entry| text(&entry["status"]).to_owned()).collect())
    }

    /// The order, once the event of its checkout has arrived.
    async fn order_of(&self, checkout: &Value) -> anyhow::Result<Value> {
        let path = format!("/api/v1/orders/{}", text(&checkout["order_id"]));
        let until = Instant::now() + TIMEOUT;
        while self.0.get(&path).await?.status != StatusCode::OK {
            ensure!(Instant::now() < until, "the order did not arrive within {TIMEOUT:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(self.get(&path).await?.json())
    }

    async fn lines_in_cart(&self) -> anyhow::Result<usize> {
        Ok(self.0.get("/api/v1/cart").await?.json()["items"]
            .as_array()
            .map_or(0, Vec::len))
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

async fn purchase(ada: &PrintingCustomer) -> anyhow::Result<()> {
    print_line("--- A purchase ---")?;
    ada.get("/api/v1/products").await?;
    ada.add(1, 1).await?;
    ada.add(2, 2).await?;
    let checkout = ada.buy("a-laptop-and-two-mice", "pm_card_ok").await?;
    ensure!(checkout["status"] == "COMPLETED", "the purchase did not complete");
    let order = ada.order_of(&checkout).await?;
    ensure!(
        order["total_amount"] == checkout["total_amount"],
        "the order has another total than the checkout"
    );
    let history = ada.history(&checkout).await?;
    let expected = [
        "INITIATED",
        "INVENTORY_RESERVED",
        "PAYMENT_PENDING",
        "PAYMENT_COMPLETED",
        "COMPLETED",
    ];
    ensure!(history == expected, "the saga took other steps than it should");
    Ok(())
}

async fn declined_card(grace: &PrintingCustomer) -> anyhow::Result<()> {
    print_line("\n--- A declined card: the stock goes back, the cart stays ---")?;
    grace.add(4, 1).await?;
    let checkout = grace.buy("a-monitor", "pm_card_declined").await?;
    ensure!(
        checkout["failure"]["reason"] == "CARD_DECLINED",
        "the card was not declined"
    );
    grace.history(&checkout).await?;
    ensure!(grace.lines_in_cart().await? == 1, "the cart is not as it was");
    Ok(())
}

async fn out_of_stock(linus: &PrintingCustomer, margaret: &PrintingCustomer) -> anyhow::Result<()> {
    print_line("\n--- Out of stock: one customer buys all laptops but one or two ---")?;
    linus.add(1, 98).await?;
    let checkout = linus.buy("ninety-eight-laptops", "pm_card_ok").await?;
    ensure!(checkout["status"] == "COMPLETED", "the purchase did not complete");
    margaret.add(1, 3).await?;
    let checkout = margaret.buy("three-laptops", "pm_card_ok").await?;
    ensure!(
        checkout["failure"]["reason"] == "OUT_OF_STOCK",
        "more was sold than there was"
    );
    margaret.history(&checkout).await?;
    Ok(())
}

async fn double_click(dennis: &PrintingCustomer) -> anyhow::Result<()> {
    print_line("\n--- A double click: two requests with one key at the same time ---")?;
    dennis.add(3, 1).await?;
    let (first, second) = tokio::join!(
        dennis.buy("one-keyboard", "pm_card_ok"),
        dennis.buy("one-keyboard", "pm_card_ok")
    );
    let (first, second) = (first?, second?);
    ensure!(first["status"] == "COMPLETED", "the purchase did not complete");
    ensure!(
        first["checkout_id"] == second["checkout_id"],
        "two purchases were made of one"
    );
    dennis.order_of(&first).await?;
    let orders = dennis.get("/api/v1/orders").await?.json();
    ensure!(
        orders.as_array().map(Vec::len) == Some(1),
        "there is not exactly one order"
    );
    Ok(())
}
