//! Whole shops in this process, on free ports and temporary folders. A test can stop and restart them.

mod buyer;
mod plan;
mod stores;
mod wire;

use std::{
    fmt,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use cartwright::{Config, Overrides, ServiceName, settings::Settings};
use gateway::{Secret, token};
use jiff::Timestamp;
use proto::{
    cart::v1::cart_service_client::CartServiceClient,
    checkout::v1::checkout_service_client::CheckoutServiceClient,
    inventory::v1::{AddStockRequest, GetStockRequest, inventory_service_client::InventoryServiceClient},
    notification::v1::notification_service_client::NotificationServiceClient,
    orders::v1::orders_service_client::OrdersServiceClient,
    payment::v1::payment_service_client::PaymentServiceClient,
    product::v1::{UpsertProductRequest, product_service_client::ProductServiceClient},
};
use runtime::{Clock, Faults};
use sqlx::{FromRow, sqlite::SqliteRow};
use tonic::transport::{Channel, Endpoint};

use crate::{
    books,
    home::{Home, Profile},
};

pub use buyer::Buyer;
pub use plan::FaultPlan;
pub use stores::{Dump, dump, execute, rows};
pub use wire::{call_raw, reason_of};

/// The timeout of everything that a test waits for.
pub const TIMEOUT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A shop and its data.
pub struct Shop {
    home: Home,
    config: Config,
    overrides: Overrides,
    secret: Secret,
    running: Option<cartwright::Shop>,
}

impl fmt::Debug for Shop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shop").field(&self.home).finish()
    }
}

impl Shop {
    /// A new shop with the default settings.
    pub async fn open(profile: Profile) -> Result<Self> {
        Self::with(profile, |_| {}, Faults::none()).await
    }

    /// A new shop with other settings.
    pub async fn with_settings(profile: Profile, tweak: impl FnOnce(&mut Settings)) -> Result<Self> {
        Self::with(profile, tweak, Faults::none()).await
    }

    /// A new shop with faults in the calls between its services.
    pub async fn with_faults(profile: Profile, faults: Faults) -> Result<Self> {
        Self::with(profile, |_| {}, faults).await
    }

    pub async fn with(profile: Profile, tweak: impl FnOnce(&mut Settings), faults: Faults) -> Result<Self> {
        let home = Home::new(profile).await?;
        let mut settings = Config::embedded(home.folder().to_owned())?.settings;
        home.configure(&mut settings);
        tweak(&mut settings);
        let config = Config::new(&[], settings)?;
        let overrides = Overrides {
            faults,
            ..Overrides::default()
        };
        let running = cartwright::Shop::start(&config, overrides.clone()).await?;
        let secret = Secret::new(std::fs::read(home.folder().join("jwt.key"))?)?;
        Ok(Self {
            home,
            config,
            overrides,
            secret,
            running: Some(running),
        })
    }

    /// Stops the shop gracefully; its data stays.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    /// Starts the shop again on the same data, on new ports.
    pub async fn start(&mut self) -> Result<()> {
        ensure!(self.running.is_none(), "the shop is open already");
        self.running = Some(cartwright::Shop::start(&self.config, self.overrides.clone()).await?);
        Ok(())
    }

    pub fn data_dir(&self) -> &Path {
        self.home.folder()
    }

    pub const fn home(&self) -> &Home {
        &self.home
    }

    pub const fn clock(&self) -> &Clock {
        &self.overrides.runtime.clock
    }

    fn running(&self) -> Result<&cartwright::Shop> {
        self.running.as_ref().context("the shop is closed")
    }

    pub fn address(&self, service: ServiceName) -> Result<SocketAddr> {
        self.running()?
            .address(service)
            .with_context(|| format!("{} is not running", service.as_str()))
    }

    /// The address of `/health/ready`.
    pub fn admin(&self) -> Result<SocketAddr> {
        Ok(self.running()?.admin())
    }

    /// A customer with a token for an hour.
    pub fn buyer(&self, name: &str) -> Result<Buyer> {
        let token = self.token(name, Duration::from_hours(1), self.clock().now())?;
        Ok(Buyer::new(name, self.address(ServiceName::Gateway)?, Some(token)))
    }

    /// A client without a token.
    pub fn anonymous(&self) -> Result<Buyer> {
        Ok(Buyer::new("", self.address(ServiceName::Gateway)?, None))
    }

    /// A token with the key of this shop, issued at `at`.
    pub fn token(&self, name: &str, expires_in: Duration, at: Timestamp) -> Result<String> {
        Ok(token::sign(&self.secret, name, None, expires_in, at)?)
    }

    /// A channel over TCP to a service.
    pub fn channel(&self, service: ServiceName) -> Result<Channel> {
        Ok(Endpoint::from_shared(format!("http://{}", self.address(service)?))?.connect_lazy())
    }

    pub fn products(&self) -> Result<ProductServiceClient<Channel>> {
        Ok(ProductServiceClient::new(self.channel(ServiceName::Product)?))
    }

    pub fn carts(&self) -> Result<CartServiceClient<Channel>> {
        Ok(CartServiceClient::new(self.channel(ServiceName::Cart)?))
    }

    pub fn inventory(&self) -> Result<InventoryServiceClient<Channel>> {
        Ok(InventoryServiceClient::new(self.channel(ServiceName::Inventory)?))
    }

    pub fn payments(&self) -> Result<PaymentServiceClient<Channel>> {
        Ok(PaymentServiceClient::new(self.channel(ServiceName::Payment)?))
    }

    pub fn checkouts(&self) -> Result<CheckoutServiceClient<Channel>> {
        Ok(CheckoutServiceClient::new(self.channel(ServiceName::Checkout)?))
    }

    pub fn orders(&self) -> Result<OrdersServiceClient<Channel>> {
        Ok(OrdersServiceClient::new(self.channel(ServiceName::Orders)?))
    }

    pub fn notifications(&self) -> Result<NotificationServiceClient<Channel>> {
        Ok(NotificationServiceClient::new(self.channel(ServiceName::Notification)?))
    }

    /// Waits until all sagas have ended and every event has been consumed.
    pub async fn wait_until_idle(&self) -> Result<()> {
        books::wait_until_idle(&self.home).await
    }

    /// Waits until the shop is idle, and checks its books.
    pub async fn balance(&self) -> Result<()> {
        books::check(&self.home).await
    }

    /// The rows of a query on a store.
    pub async fn rows<T>(&self, store: &str, sql: impl Into<String>) -> Result<Vec<T>>
    where
        T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        self.home.rows(store, sql).await
    }

    /// The rows of all tables of the shop.
    pub async fn dump(&self) -> Result<Dump> {
        self.home.dump().await
    }

    /// The stock of a product: pieces on hand, and how many of them are held.
    pub async fn stock(&self, product: i64) -> Result<(i64, i64)> {
        let request = GetStockRequest {
            product_ids: vec![product],
        };
        let found = self.inventory()?.get_stock(request).await?.into_inner().stock;
        let stock = found
            .first()
            .with_context(|| format!("there is no stock of product {product}"))?;
        Ok((stock.on_hand, stock.held))
    }

    /// Creates or replaces a product with a price in cents; returns its id. For id 0 the catalogue chooses one.
    pub async fn upsert_product(&self, id: i64, name: &str, minor_units: i64) -> Result<i64> {
        let product = UpsertProductRequest {
            id,
            name: name.to_owned(),
            price: Some(money::Money::usd(minor_units).into()),
            ..Default::default()
        };
        let stored = self.products()?.upsert_product(product).await?.into_inner();
        Ok(stored.product.context("no product")?.id)
    }

    /// Receives pieces of a product, once for each product.
    pub async fn add_stock(&self, product_id: i64, quantity: i64) -> Result<()> {
        let delivery = AddStockRequest {
            product_id,
            quantity,
            idempotency_key: format!("product {product_id}"),
        };
        self.inventory()?.add_stock(delivery).await?;
        Ok(())
    }
}

/// Waits until the condition holds; `what` names it in the error.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    wait_for(what, async || Ok(condition().await?.then_some(()))).await
}

/// Waits until `look` returns a value; `what` names it in the error.
pub async fn wait_for<T>(what: &str, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        ensure!(
            began.elapsed() < TIMEOUT,
            "after {TIMEOUT:?} still waiting until {what}"
        );
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
