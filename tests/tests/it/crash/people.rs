//! Who is in the shop, and what they do there.

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use anyhow::{Context, ensure};
use cartwright::http::Customer;
use futures::future::{join, join_all, join3};
use http::{Method, StatusCode};
use proto::{
    inventory::v1::{
        AddStockRequest, AddStockResponse, GetStockRequest, inventory_service_client::InventoryServiceClient,
    },
    money::v1::Money,
    product::v1::{UpsertProductRequest, UpsertProductResponse, product_service_client::ProductServiceClient},
};
use serde_json::{Value, json};
use system_tests::{home::Home, process::ShopProcess, shops::until};
use tonic::transport::{Channel, Endpoint};

use super::{
    Said,
    scenario::{BINARY, Scenario},
    template::end_the_outage,
};

/// There are two pieces of it, and both are wanted: by alice, who cannot be charged yet, and one of them by bob.
pub(super) const WANTED: i64 = 50;
/// It comes with the delivery.
pub(super) const DELIVERED: i64 = 60;
/// What one piece of either costs.
pub(super) const PRICE: i64 = 700;
const KEY: &str = "the one key";

/// Their connections to one process.
pub(super) struct People<'a> {
    pub(super) alice: Customer,
    pub(super) bob: Customer,
    products: Channel,
    inventory: Channel,
    addresses: BTreeMap<String, SocketAddr>,
    home: &'a Home,
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
            products: channel("product")?,
            inventory: channel("inventory")?,
            addresses: shop.addresses.clone(),
            home,
        })
    }

    /// Does what is done in a scenario and keeps the answers that come. An error: one of them did not.
    pub(super) async fn play(&self, scenario: Scenario, said: &mut Said) -> anyhow::Result<()> {
        match scenario {
            Scenario::Success
            | Scenario::OutOfStock
            | Scenario::Declined
            | Scenario::ReplyLost
            | Scenario::Duplicate
            | Scenario::ProviderDown
            | Scenario::TakenUp => {
                let requests = (0..scenario.times("alice")).map(|_| buy(&self.alice, scenario.method()));
                let noted = join_all(requests).await.into_iter().map(|it| note(said, "alice", it));
                noted.collect::<Vec<_>>().into_iter().collect::<anyhow::Result<()>>()?;
                if scenario == Scenario::TakenUp {
                    note(said, "bob", buy(&self.bob, "pm_card_ok").await)?;
                }
                Ok(())
            }
            Scenario::HoldLost => {
                let (alice, bob) = join(buy(&self.alice, scenario.method()), self.outrun_alice()).await;
                let noted = note(said, "alice", alice);
                note(said, "bob", bob).and(noted)
            }
            Scenario::StockAway => {
                let (alice, bob) = (buy(&self.alice, scenario.method()), buy(&self.bob, "pm_card_declined"));
                let (alice, bob, back) = join3(alice, bob, self.end_the_outage_of_stock()).await;
                let noted = note(said, "alice", alice);
                note(said, "bob", bob).and(noted).and(back)
            }
            Scenario::CartAway => {
                let alice = buy(&self.alice, scenario.method());
                let (alice, back) = join(alice, self.take_the_cart_away()).await;
                note(said, "alice", alice).and(back)
            }
            Scenario::Browsing => self.browse(said).await,
            Scenario::Delivery => self.deliver(said).await,
            Scenario::Erasure => self.erase_alice(said).await,
            Scenario::LongAgo => {
                let gone = "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM outbox)";
                self.until("the old event is gone", "checkout", gone).await?;
                let gone = "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM carts WHERE user_id = 'carol')";
                self.until("the old cart is gone", "cart", gone).await?;
                note(said, "alice", buy(&self.alice, scenario.method()).await)
            }
        }
    }

    /// Does it again until everybody has an answer.
    pub(super) async fn play_until_answered(&self, scenario: Scenario) -> anyhow::Result<Said> {
        let mut said = Said::new();
        let is_open = |said: &Said, question| !said.iter().any(|(about, _)| *about == question);
        while scenario
            .questions()
            .into_iter()
            .any(|question| is_open(&said, question))
        {
            self.play(scenario, &mut said).await?;
        }
        Ok(said)
    }

    /// What is in alice's cart: products and quantities.
    pub(super) async fn cart(&self) -> anyhow::Result<Value> {
        Ok(lines(&call(&self.alice, Method::GET, "/api/v1/cart", None).await?))
    }

    /// Bob buys what alice held, as soon as her time is over.
    pub(super) async fn get_ahead_of_alice(&self) -> anyhow::Result<Option<Value>> {
        let over = format!("SELECT 1 FROM ledger WHERE product_id = {WANTED} AND kind NOT IN ('RECEIVED', 'HELD')");
        self.until("alice's hold is over", "inventory", over).await?;
        buy(&self.bob, "pm_card_ok").await
    }

    /// The same, and then the provider is back for her.
    async fn outrun_alice(&self) -> anyhow::Result<Option<Value>> {
        let bought = self.get_ahead_of_alice().await?;
        if bought.is_some() {
            end_the_outage(self.home, "provider").await?;
        }
        Ok(bought)
    }

    /// The stock can be sold and given back once alice has paid, and bob's card was declined.
    async fn end_the_outage_of_stock(&self) -> anyhow::Result<()> {
        let both = "SELECT 1 WHERE 2 = (SELECT count(*) FROM checkouts
            WHERE state NOT IN ('INITIATED', 'INVENTORY_RESERVED', 'PAYMENT_PENDING'))";
        self.until("it is known who has paid", "checkout", both).await?;
        end_the_outage(self.home, "inventory").await
    }

    /// Alice's cart cannot be read from when it holds what she buys until it is known that her card was declined.
    async fn take_the_cart_away(&self) -> anyhow::Result<()> {
        let known = "state NOT IN ('INITIATED', 'INVENTORY_RESERVED', 'PAYMENT_PENDING')";
        let tried = format!("SELECT 1 FROM checkouts WHERE {known} OR (state = 'PAYMENT_PENDING' AND attempts > 0)");
        self.until("alice could not be charged", "checkout", tried).await?;
        self.home.spoil_cart("alice").await?;
        end_the_outage(self.home, "provider").await?;
        let declined = format!("SELECT 1 FROM checkouts WHERE {known}");
        self.until("alice's card is declined", "checkout", declined).await?;
        self.home.mend_cart("alice").await
    }

    /// Waits until a query finds something, but not for a shop that is gone.
    async fn until(&self, what: &str, store: &str, sql: impl Into<String>) -> anyhow::Result<()> {
        let sql = sql.into();
        until(what, async || {
            let mut inventory = InventoryServiceClient::new(self.inventory.clone());
            inventory.get_stock(GetStockRequest::default()).await?;
            let found: Vec<(i64,)> = self.home.rows(store, sql.as_str()).await?;
            Ok((!found.is_empty()).then_some(()))
        })
        .await
    }

    /// Everything a customer can do but buy. Each change of the cart is told as well: what it is afterwards.
    async fn browse(&self, said: &mut Said) -> anyhow::Result<()> {
        const CART: &str = "/api/v1/cart";
        const ITEMS: &str = "/api/v1/cart/items";
        let read = async |path: &str| call(&self.alice, Method::GET, path, None).await;
        let change = async |method, path: &str, body: Option<Value>| {
            call(&self.alice, method, path, body.as_ref())
                .await
                .map(|cart| lines(&cart))
        };
        said.push(("products", read("/api/v1/products").await?));
        said.push(("product", read("/api/v1/products/2").await?));
        let mouse = json!({"product_id": 2, "quantity": 2});
        said.push(("change", change(Method::POST, ITEMS, Some(mouse)).await?));
        let three = json!({"quantity": 3});
        said.push((
            "change",
            change(Method::PUT, "/api/v1/cart/items/2", Some(three)).await?,
        ));
        let keyboard = json!({"product_id": 3, "quantity": 1});
        said.push(("change", change(Method::POST, ITEMS, Some(keyboard)).await?));
        said.push(("change", change(Method::DELETE, "/api/v1/cart/items/3", None).await?));
        said.push(("cart", self.cart().await?));
        let orders = read("/api/v1/orders").await?;
        let order = |field: &str| orders[0][field].as_str().unwrap_or_default().to_owned();
        let (order, checkout) = (order("id"), order("checkout_id"));
        said.push(("orders", orders));
        said.push(("order", read(&format!("/api/v1/orders/{order}")).await?));
        said.push(("checkout", read(&format!("/api/v1/checkout/{checkout}")).await?));
        said.push(("change", change(Method::DELETE, CART, None).await?));
        said.push(("emptied", self.cart().await?));
        Ok(())
    }

    /// A new product, and ten pieces of it.
    async fn deliver(&self, said: &mut Said) -> anyhow::Result<()> {
        let made = self.offer(DELIVERED).await?;
        said.push(("product", format!("{made:?}").into()));
        let stocked = self.stock_up(DELIVERED, 10).await?;
        said.push(("stock", format!("{stocked:?}").into()));
        Ok(())
    }

    /// Makes alice nobody, by the command beside the shop.
    async fn erase_alice(&self, said: &mut Said) -> anyhow::Result<()> {
        let mut command = self.home.command(Path::new(BINARY));
        command.args(["erase", "--user", "alice", "--yes"]);
        for (service, address) in &self.addresses {
            command.env(format!("{}_SERVICE_ADDR", service.to_uppercase()), address.to_string());
        }
        let erased = command.output().await?;
        ensure!(erased.status.success(), "{erased:?}");
        said.push(("erasure", json!("done")));
        Ok(())
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

async fn call(customer: &Customer, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
    let reply = customer.call(method, path, body).await?;
    ensure!(reply.status.is_success(), "{path}: {reply:?}");
    Ok(reply.json())
}

/// Keeps an answer, if there is one.
fn note(said: &mut Said, question: &'static str, answer: anyhow::Result<Option<Value>>) -> anyhow::Result<()> {
    said.extend(answer?.map(|answer| (question, answer)));
    Ok(())
}

/// Products and quantities of a cart.
fn lines(cart: &Value) -> Value {
    let items = cart["items"].as_array().into_iter().flatten();
    items
        .map(|item| json!([item["product_id"], item["quantity"]]))
        .collect()
}
