//! The customers, and what they do in several scenarios.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::{Context, ensure};
use cartwright::http::Customer;
use futures::future::join_all;
use http::Method;
use proto::{
    inventory::v1::{
        AddStockRequest, AddStockResponse, GetStockRequest, inventory_service_client::InventoryServiceClient,
    },
    money::v1::Money,
    product::v1::{UpsertProductRequest, UpsertProductResponse, product_service_client::ProductServiceClient},
};
use serde_json::{Value, json};
use system_tests::{
    books,
    home::Home,
    process::ShopProcess,
    shopping::{self, add, check_out},
    shops::until,
};
use tonic::transport::{Channel, Endpoint};

use super::scenario::{Responses, Scenario};

/// The price of products that scenarios add to the catalogue.
pub(super) const PRICE: i64 = 700;
const KEY: &str = "the one key";

/// The customers and the clients of one process.
pub(super) struct Customers<'a> {
    pub(super) alice: Customer,
    pub(super) bob: Customer,
    pub(super) home: &'a Home,
    /// The addresses of the services, by name.
    pub(super) addresses: BTreeMap<String, SocketAddr>,
    products: Channel,
    inventory: Channel,
}

impl<'a> Customers<'a> {
    pub(super) fn of(shop: &ShopProcess, home: &'a Home) -> anyhow::Result<Self> {
        let channel = |service| {
            let address = shop.addresses.get(service).context("a service is missing")?;
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

    /// The products and quantities in alice's cart.
    pub(super) async fn cart(&self) -> anyhow::Result<Value> {
        Ok(lines(&call(&self.alice, Method::GET, "/api/v1/cart", None).await?))
    }

    /// Runs a scenario until every request has a response.
    pub(super) async fn run_until_answered(&self, scenario: &dyn Scenario) -> anyhow::Result<Responses> {
        let mut responses = Responses::new();
        let is_open = |responses: &Responses, request| !responses.iter().any(|(name, _)| *name == request);
        while scenario.requests().any(|request| is_open(&responses, request)) {
            scenario.run(self, &mut responses).await?;
        }
        Ok(responses)
    }

    /// Alice puts two pieces each of two products into her cart.
    pub(super) async fn fill_alices_cart(&self) -> anyhow::Result<()> {
        add(&self.alice, 1, 2).await?;
        add(&self.alice, 2, 2).await
    }

    /// Alice sends her checkout `times` times concurrently.
    pub(super) async fn alice_buys(&self, method: &str, times: usize, responses: &mut Responses) -> anyhow::Result<()> {
        let answers = join_all((0..times).map(|_| buy(&self.alice, method))).await;
        let recorded: Vec<_> = answers.into_iter().map(|it| record(responses, "alice", it)).collect();
        recorded.into_iter().collect()
    }

    /// Buys laptops with a good card, and waits until the shop is idle.
    pub(super) async fn buy_laptops(&self, customer: &Customer, laptops: i64) -> anyhow::Result<()> {
        add(customer, 1, laptops).await?;
        shopping::buy(customer, KEY).await?;
        books::wait_until_idle(self.home).await
    }

    /// Waits until a query finds a row. Fails if the shop is gone.
    pub(super) async fn until(&self, what: &str, store: &str, sql: impl Into<String>) -> anyhow::Result<()> {
        let sql = sql.into();
        until(what, async || {
            let mut inventory = InventoryServiceClient::new(self.inventory.clone());
            inventory.get_stock(GetStockRequest::default()).await?;
            let found: Vec<(i64,)> = self.home.rows(store, sql.as_str()).await?;
            Ok(!found.is_empty())
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

/// The response to a checkout; `None` unless the purchase has ended.
pub(super) async fn buy(customer: &Customer, method: &str) -> anyhow::Result<Option<Value>> {
    check_out(customer, KEY, method).await
}

/// Sends a request that must succeed.
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

/// Records a response, if there is one.
pub(super) fn record(
    responses: &mut Responses,
    request: &'static str,
    answer: anyhow::Result<Option<Value>>,
) -> anyhow::Result<()> {
    responses.extend(answer?.map(|answer| (request, answer)));
    Ok(())
}

/// The products and quantities of a cart.
pub(super) fn lines(cart: &Value) -> Value {
    let items = cart["items"].as_array().into_iter().flatten();
    items
        .map(|item| json!([item["product_id"], item["quantity"]]))
        .collect()
}
