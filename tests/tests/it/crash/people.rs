//! Who is in the shop, and what they do there in several scenarios.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::{Context, ensure};
use cartwright::http::Customer;
use futures::future::join_all;
use http::{Method, StatusCode};
use proto::{
    inventory::v1::{
        AddStockRequest, AddStockResponse, GetStockRequest, inventory_service_client::InventoryServiceClient,
    },
    money::v1::Money,
    product::v1::{UpsertProductRequest, UpsertProductResponse, product_service_client::ProductServiceClient},
};
use serde_json::{Value, json};
use system_tests::{books, home::Home, process::ShopProcess, shops::until};
use tonic::transport::{Channel, Endpoint};

use super::scenario::{Said, Scenario};

/// What a piece of that costs which scenarios add to the catalogue.
pub(super) const PRICE: i64 = 700;
const KEY: &str = "the one key";

/// Their connections to one process.
pub(super) struct People<'a> {
    pub(super) alice: Customer,
    pub(super) bob: Customer,
    pub(super) home: &'a Home,
    /// Where each service is.
    pub(super) addresses: BTreeMap<String, SocketAddr>,
    products: Channel,
    inventory: Channel,
}

impl<'a> People<'a> {
    pub(super) fn of(shop: &ShopProcess, home: &'a Home) -> anyhow::Result<Self> {
        let channel = |service| {
            let address = shop.addresses.get(service).context("a service is not there")?;
            anyhow::Ok(Endpoint::from_shared(format!("http://{address}"))?.connect_lazy())
        };
        Ok(Self {
            alice: shop.customer("alice")?,
            bob: shop.customer("bob")?,
            home,
            addresses: shop.addresses.clone(),
            products: channel("product")?,
            inventory: channel("inventory")?,
        })
    }

    /// What is in alice's cart: products and quantities.
    pub(super) async fn cart(&self) -> anyhow::Result<Value> {
        Ok(lines(&call(&self.alice, Method::GET, "/api/v1/cart", None).await?))
    }

    /// Plays a scenario again until everybody has an answer.
    pub(super) async fn play_until_answered(&self, scenario: &dyn Scenario) -> anyhow::Result<Said> {
        let mut said = Said::new();
        let is_open = |said: &Said, question| !said.iter().any(|(about, _)| *about == question);
        while scenario.questions().any(|question| is_open(&said, question)) {
            scenario.play(self, &mut said).await?;
        }
        Ok(said)
    }

    /// Alice puts two of two products into her cart.
    pub(super) async fn fill_alices_cart(&self) -> anyhow::Result<()> {
        fill_cart(&self.alice, 1, 2).await?;
        fill_cart(&self.alice, 2, 2).await
    }

    /// Alice asks for her purchase so many times at once.
    pub(super) async fn alice_buys(&self, method: &str, times: usize, said: &mut Said) -> anyhow::Result<()> {
        let answers = join_all((0..times).map(|_| buy(&self.alice, method))).await;
        let noted: Vec<_> = answers.into_iter().map(|it| note(said, "alice", it)).collect();
        noted.into_iter().collect()
    }

    /// Somebody has bought laptops, for which there are charge and stock, and all that follows from it is done.
    pub(super) async fn has_bought(&self, customer: &Customer, laptops: i64) -> anyhow::Result<()> {
        fill_cart(customer, 1, laptops).await?;
        let bought = buy(customer, "pm_card_ok").await?.context("no answer in time")?;
        ensure!(bought["status"] == "COMPLETED", "{bought}");
        books::settle(self.home).await
    }

    /// Waits until a query finds something, but not for a shop that is gone.
    pub(super) async fn until(&self, what: &str, store: &str, sql: impl Into<String>) -> anyhow::Result<()> {
        let sql = sql.into();
        until(what, async || {
            let mut inventory = InventoryServiceClient::new(self.inventory.clone());
            inventory.get_stock(GetStockRequest::default()).await?;
            let found: Vec<(i64,)> = self.home.rows(store, sql.as_str()).await?;
            Ok((!found.is_empty()).then_some(()))
        })
        .await
    }

    pub(super) async fn offer(&self, id: i64) -> anyhow::Result<UpsertProductResponse> {
        let product = UpsertProductRequest {
            id,
            name: format!("Thing {id}"),
            price: Some(Money {
                currency_code: "USD".to_owned(),
                minor_units: PRICE,
            }),
            ..Default::default()
        };
        let mut products = ProductServiceClient::new(self.products.clone());
        Ok(products.upsert_product(product).await?.into_inner())
    }

    pub(super) async fn stock_up(&self, product_id: i64, quantity: i64) -> anyhow::Result<AddStockResponse> {
        let delivery = AddStockRequest {
            product_id,
            quantity,
            idempotency_key: format!("things {product_id}"),
        };
        let mut inventory = InventoryServiceClient::new(self.inventory.clone());
        Ok(inventory.add_stock(delivery).await?.into_inner())
    }
}

/// Puts pieces of a product into a cart.
pub(super) async fn fill_cart(customer: &Customer, product: i64, quantity: i64) -> anyhow::Result<()> {
    let item = json!({"product_id": product, "quantity": quantity});
    call(customer, Method::POST, "/api/v1/cart/items", Some(&item))
        .await
        .map(drop)
}

/// The answer of a purchase that has ended; none as long as it has not.
pub(super) async fn buy(customer: &Customer, method: &str) -> anyhow::Result<Option<Value>> {
    buy_with(customer, KEY, method).await
}

/// The same, under another key.
pub(super) async fn buy_with(customer: &Customer, key: &str, method: &str) -> anyhow::Result<Option<Value>> {
    let body = json!({"idempotency_key": key, "payment_method": method});
    let reply = customer.post("/api/v1/checkout", &body).await?;
    Ok((reply.status == StatusCode::CREATED).then(|| reply.json()))
}

/// What the shop answers, which must be a success.
pub(super) async fn call(
    customer: &Customer,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Value> {
    let reply = customer.call(method, path, body).await?;
    ensure!(reply.status.is_success(), "{path}: {reply:?}");
    Ok(reply.json())
}

/// Keeps an answer, if there is one.
pub(super) fn note(
    said: &mut Said,
    question: &'static str,
    answer: anyhow::Result<Option<Value>>,
) -> anyhow::Result<()> {
    said.extend(answer?.map(|answer| (question, answer)));
    Ok(())
}

/// Products and quantities of a cart.
pub(super) fn lines(cart: &Value) -> Value {
    let items = cart["items"].as_array().into_iter().flatten();
    items
        .map(|item| json!([item["product_id"], item["quantity"]]))
        .collect()
}
