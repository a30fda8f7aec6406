//! Whole shops in this process: on free ports and in temporary folders, to be stopped and started again.

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
use cartwright::{Config, Hooks, ServiceName, settings::Settings};
use gateway::{Secret, token};
use jiff::Timestamp;
use proto::{
    cart::v1::cart_service_client::CartServiceClient,
    checkout::v1::checkout_service_client::CheckoutServiceClient,
    inventory::v1::{GetStockRequest, inventory_service_client::InventoryServiceClient},
    notification::v1::notification_service_client::NotificationServiceClient,
    orders::v1::orders_service_client::OrdersServiceClient,
    payment::v1::payment_service_client::PaymentServiceClient,
    product::v1::product_service_client::ProductServiceClient,
};
use runtime::{Clock, Faults};
use sqlx::{FromRow, sqlite::SqliteRow};
use tonic::transport::{Channel, Endpoint};

use crate::{
    books,
    home::{Home, Profile},
};

pub use buyer::Buyer;
pub use plan::Plan;
pub use stores::{Contents, contents, execute, rows};
pub use wire::{call_raw, reason_of};

/// How long anything may take that is waited for.
pub const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(10);

/// A shop and the home that it lives in.
pub struct Shop {
    home: Home,
    config: Config,
    hooks: Hooks,
    secret: Secret,
    running: Option<cartwright::Shop>,
}

impl fmt::Debug for Shop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shop").field(&self.home).finish()
    }
}

impl Shop {
    /// A new shop as it comes.
    pub async fn open(profile: Profile) -> Result<Self> {
        Self::with(profile, |_| {}, Faults::none()).await
    }

    /// A new shop with other settings.
    pub async fn with_settings(profile: Profile, tweak: impl FnOnce(&mut Settings)) -> Result<Self> {
        Self::with(profile, tweak, Faults::none()).await
    }

    /// A new shop whose calls between services go wrong as planned.
    pub async fn with_faults(profile: Profile, faults: Faults) -> Result<Self> {
        Self::with(profile, |_| {}, faults).await
    }

    pub async fn with(profile: Profile, tweak: impl FnOnce(&mut Settings), faults: Faults) -> Result<Self> {
        let home = Home::new(profile).await?;
        let mut settings = Config::embedded(home.folder().to_owned())?.settings;
        home.furnish(&mut settings);
        tweak(&mut settings);
        let config = Config::new(&[], settings)?;
        let hooks = Hooks {
            faults,
            ..Hooks::default()
        };
        let running = cartwright::Shop::start(&config, hooks.clone()).await?;
        let secret = Secret::new(std::fs::read(home.folder().join("jwt.key"))?)?;
        Ok(Self {
            home,
            config,
            hooks,
            secret,
            running: Some(running),
        })
    }

    /// Stops in order; what is in the folder stays.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    /// Starts again on the same folder, on new ports.
    pub async fn start(&mut self) -> Result<()> {
        ensure!(self.running.is_none(), "the shop is open already");
        self.running = Some(cartwright::Shop::start(&self.config, self.hooks.clone()).await?);
        Ok(())
    }

    pub fn data_dir(&self) -> &Path {
        self.home.folder()
    }

    pub const fn home(&self) -> &Home {
        &self.home
    }

    pub const fn clock(&self) -> &Clock {
        &self.hooks.runtime.clock
    }

    fn running(&self) -> Result<&cartwright::Shop> {
        self.running.as_ref().context("the shop is closed")
    }

    pub fn address(&self, service: ServiceName) -> Result<SocketAddr> {
        self.running()?
            .address(service)
            .with_context(|| format!("{} is not running", service.as_str()))
    }

    /// Where `/health/ready` of the process is.
    pub fn admin(&self) -> Result<SocketAddr> {
        Ok(self.running()?.admin())
    }

    /// A customer with a token for an hour.
    pub fn buyer(&self, name: &str) -> Result<Buyer> {
        let token = self.token(name, Duration::from_hours(1), self.clock().now())?;
        Ok(Buyer::new(name, self.address(ServiceName::Gateway)?, Some(token)))
    }

    /// Somebody without a token.
    pub fn stranger(&self) -> Result<Buyer> {
        Ok(Buyer::new("", self.address(ServiceName::Gateway)?, None))
    }

    /// A token that this shop believes, signed at `at`.
    pub fn token(&self, name: &str, expires_in: Duration, at: Timestamp) -> Result<String> {
        Ok(token::sign(&self.secret, name, None, expires_in, at)?)
    }

    /// A channel over TCP to the port of a service.
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
    pub async fn settle(&self) -> Result<()> {
        books::settle(&self.home).await
    }

    /// Waits until the shop is at rest, and checks that its books agree.
    pub async fn balance(&self) -> Result<()> {
        self.settle().await?;
        books::balance(&self.home).await
    }

    /// What a query finds in the store of this name.
    pub async fn rows<T>(&self, store: &str, sql: impl Into<String>) -> Result<Vec<T>>
    where
        T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        self.home.rows(store, sql).await
    }

    /// All that the shop has stored.
    pub async fn contents(&self) -> Result<Contents> {
        self.home.contents().await
    }

    /// The stock of a product: what is in the warehouse, and what of it is held.
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
}

/// Waits until `look` finds what it looks for.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        ensure!(
            began.elapsed() < PATIENCE,
            "after {PATIENCE:?} still waiting until {what}"
        );
        tokio::time::sleep(LOOK).await;
    }
}
