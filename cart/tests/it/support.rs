//! Values, fakes of the ports, and a running service.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use cart::{
    app::{CartError, Carts},
    cache::{GuardOptions, GuardedCache, MemoryCache},
    domain::{Added, Cart, CartId, ChangeOptions, Offer, ProductId, ProductQuantity, UserId, Version},
    ports::{CacheError, Cached, CartCache, CartStore, FillToken, ProductLookup, Products, Saved},
};
use events::{EventBus, SqliteBus};
use jiff::Timestamp;
use money::{Money, Quantity};
use proto::{
    cart::v1::cart_service_client::CartServiceClient,
    product::v1::{
        BatchGetProductsRequest, BatchGetProductsResponse, GetProductRequest, GetProductResponse, GetProductsRequest,
        GetProductsResponse, Product, UpsertProductRequest, UpsertProductResponse,
        product_service_server::{ProductService, ProductServiceServer},
    },
    status::Refusal,
};
use runtime::{Points, Runtime, Service, Tasks, channel::Peer, serve::Running};
use storage::StoreError;
use testing::{Fixture, SqliteFixture, test_policy};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::fixtures::sqlite_store;

const GRPC_CONTRACT: testing::GrpcContract = (proto::FILE_DESCRIPTOR_SET, proto::status::add_status_details);

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_mins(1);

pub(crate) fn user() -> UserId {
    UserId::new("u").unwrap()
}

pub(crate) fn product(id: i64) -> ProductId {
    ProductId::new(id).unwrap()
}

pub(crate) fn pieces(n: i64) -> Quantity {
    Quantity::new(n).unwrap()
}

pub(crate) fn quantity_of(id: i64, n: i64) -> ProductQuantity {
    ProductQuantity {
        product: product(id),
        quantity: pieces(n),
    }
}

/// The fake catalogue's offer of products 1 to 999. The price is the id in dollars.
pub(crate) fn offer(id: i64) -> Offer {
    Offer {
        product: product(id),
        name: format!("product {id}"),
        price: Money::usd(100 * id),
    }
}

pub(crate) fn quantities(cart: &Cart) -> Vec<(i64, i64)> {
    cart.lines
        .iter()
        .map(|line| (line.product.get(), line.quantity.get()))
        .collect()
}

pub(crate) fn expecting(version: i64) -> ChangeOptions {
    ChangeOptions {
        expected_version: Some(Version(version)),
        ..ChangeOptions::default()
    }
}

/// No store expires a cart that was changed at this time.
pub(crate) fn in_2100() -> Timestamp {
    Timestamp::from_second(4_102_444_800).unwrap()
}

/// A cart of this version, with that many pieces of product 1.
pub(crate) fn cart_of(user: &UserId, version: i64) -> Cart {
    let mut cart = Cart::new(user.clone());
    let at = in_2100();
    for _ in 0..version {
        cart.add(offer(1), pieces(1), at).unwrap();
        cart.bump_version(CartId(Uuid::from_u128(7)), at);
    }
    cart
}

/// A cart of 50 lines and more than 2 MB.
pub(crate) fn large_cart(user: &UserId) -> Cart {
    let mut cart = cart_of(user, 9);
    for id in 2..=50 {
        let large = Offer {
            name: "ü\"\\".repeat(10_000),
            ..offer(id)
        };
        cart.add(large, pieces(1), in_2100()).unwrap();
    }
    cart
}

/// Polls until the condition is true.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let poll = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(MINUTE, poll)
        .await
        .unwrap_or_else(|_| panic!("{what}"));
}

pub(crate) fn memory_cache() -> Arc<dyn CartCache> {
    Arc::new(MemoryCache::new(MINUTE, Duration::ZERO))
}

pub(crate) fn guarded(cache: Arc<dyn CartCache>) -> Arc<GuardedCache> {
    let options = GuardOptions {
        timeout: Duration::from_millis(50),
        retry_after: Duration::from_millis(50),
        max_ttl: MINUTE,
    };
    Arc::new(GuardedCache::new(cache, options))
}

pub(crate) fn carts(store: Arc<dyn CartStore>, cache: Arc<dyn CartCache>) -> Carts {
    Carts::new(store, guarded(cache), Arc::new(Catalogue), &Runtime::system())
}

pub(crate) fn with_fake_store() -> (Arc<FakeStore>, Carts) {
    let store = Arc::new(FakeStore::default());
    (store.clone(), carts(store, memory_cache()))
}

/// Adds pieces for [`user`] without options.
pub(crate) async fn try_add(carts: &Carts, id: i64, n: i64) -> Result<(Arc<Cart>, Added), CartError> {
    let options = ChangeOptions::default();
    carts.add_item(user(), product(id), pieces(n), options).await
}

pub(crate) async fn add(carts: &Carts, id: i64, n: i64) -> Arc<Cart> {
    try_add(carts, id, n).await.unwrap().0
}

/// Products 1 to 999 exist; the lookup of 1000 fails.
pub(crate) struct Catalogue;

#[async_trait]
impl Products for Catalogue {
    async fn find(&self, product: ProductId) -> ProductLookup {
        match product.get() {
            1..=999 => ProductLookup::Found(offer(product.get())),
            1000 => ProductLookup::Unknown("away".into()),
            _ => ProductLookup::NotFound,
        }
    }
}

/// A store in memory that can fail before or after a write.
#[derive(Default)]
pub(crate) struct FakeStore {
    carts: Mutex<HashMap<UserId, Cart>>,
    pub(crate) down: AtomicBool,
    pub(crate) loses_answers: AtomicBool,
    /// Makes the next write and answers with a conflict.
    pub(crate) reports_false_conflict: AtomicBool,
    pub(crate) always_conflicts: AtomicBool,
    pub(crate) loads: Mutex<usize>,
}

#[async_trait]
impl CartStore for FakeStore {
    async fn load(&self, user: &UserId) -> Result<Option<Cart>, StoreError> {
        *self.loads.lock().unwrap() += 1;
        // Lets concurrent callers load as well.
        tokio::task::yield_now().await;
        if self.down.load(Ordering::SeqCst) {
            return Err(StoreError::unavailable("down"));
        }
        Ok(self.carts.lock().unwrap().get(user).cloned())
    }

    async fn save(&self, cart: &Cart, expected: Option<Version>) -> Result<Saved, StoreError> {
        if self.always_conflicts.load(Ordering::SeqCst) {
            return Ok(Saved::Conflict);
        }
        let mut carts = self.carts.lock().unwrap();
        if carts.get(&cart.user).map(|cart| cart.version) != expected {
            return Ok(Saved::Conflict);
        }
        carts.insert(cart.user.clone(), cart.clone());
        if self.reports_false_conflict.swap(false, Ordering::SeqCst) {
            return Ok(Saved::Conflict);
        }
        if self.loses_answers.load(Ordering::SeqCst) {
            return Err(StoreError::unavailable("the answer was lost"));
        }
        Ok(Saved::Done)
    }

    async fn erase(&self, user: &UserId) -> Result<bool, StoreError> {
        Ok(self.carts.lock().unwrap().remove(user).is_some())
    }

    async fn is_up(&self) -> bool {
        !self.down.load(Ordering::SeqCst)
    }

    fn transactions(&self) -> Tasks {
        Tasks::new()
    }
}

/// A cache that never answers or always fails.
pub(crate) enum BadCache {
    Hung,
    Down,
}

impl BadCache {
    async fn fail<T>(&self) -> Result<T, CacheError> {
        match self {
            Self::Hung => std::future::pending().await,
            Self::Down => Err(CacheError("down".into())),
        }
    }
}

#[async_trait]
impl CartCache for BadCache {
    async fn get(&self, _: &UserId) -> Result<Cached, CacheError> {
        self.fail().await
    }

    async fn put(&self, _: Arc<Cart>, _: FillToken) -> Result<(), CacheError> {
        self.fail().await
    }

    async fn invalidate(&self, _: &UserId, _: Version) -> Result<FillToken, CacheError> {
        self.fail().await
    }

    async fn forget(&self, _: &UserId) -> Result<(), CacheError> {
        self.fail().await
    }
}

/// A product service: 1 to 999 exist, 1001 has no price, 1002 is another product, 1003 is an internal error. Two
/// pieces of 1004 cost the maximum.
#[derive(Default)]
pub(crate) struct ProductServer {
    /// Added to each price.
    surcharge: Arc<Mutex<i64>>,
}

#[tonic::async_trait]
impl ProductService for ProductServer {
    async fn get_product(&self, request: Request<GetProductRequest>) -> Result<Response<GetProductResponse>, Status> {
        let id = request.into_inner().id;
        let usd = |minor_units| {
            Some(proto::money::v1::Money {
                currency_code: "USD".to_owned(),
                minor_units,
            })
        };
        let (id, price) = match id {
            1..=999 => (id, usd(100 * id + *self.surcharge.lock().unwrap())),
            1001 => (id, None),
            1002 => (1, usd(1)),
            1003 => return Err(proto::status::internal()),
            1004 => (id, usd(money::Money::MAX_MINOR_UNITS / 2)),
            _ => return Err(Refusal::new(proto::Reason::ProductNotFound, "product not found").into()),
        };
        let product = Product {
            id,
            name: format!("product {id}"),
            price,
            ..Product::default()
        };
        Ok(Response::new(GetProductResponse { product: Some(product) }))
    }

    async fn get_products(&self, _: Request<GetProductsRequest>) -> Result<Response<GetProductsResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn batch_get_products(
        &self,
        _: Request<BatchGetProductsRequest>,
    ) -> Result<Response<BatchGetProductsResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn upsert_product(
        &self,
        _: Request<UpsertProductRequest>,
    ) -> Result<Response<UpsertProductResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

/// The cart service and a product service, both served as in production.
pub(crate) struct Shop {
    pub(crate) client: CartServiceClient<Peer>,
    pub(crate) bus: Arc<dyn EventBus>,
    pub(crate) address: SocketAddr,
    surcharge: Arc<Mutex<i64>>,
    cart: Running,
    /// `None` once closed.
    products: Option<Running>,
    config: cart::Config,
    files: SqliteFixture,
}

impl Shop {
    pub(crate) async fn open() -> Self {
        let files = SqliteFixture::new().unwrap();
        let config = cart::Config {
            store: cart::Store::Sqlite(files.file("cart.db")),
            cache: cart::Cache::Memory,
            cache_ttl: 15 * MINUTE,
        };
        Self::open_in(files, config).await
    }

    pub(crate) async fn open_on(store: cart::Store, cache: cart::Cache) -> Self {
        let config = cart::Config {
            store,
            cache,
            cache_ttl: 15 * MINUTE,
        };
        Self::open_in(SqliteFixture::new().unwrap(), config).await
    }

    async fn open_in(files: SqliteFixture, config: cart::Config) -> Self {
        let server = ProductServer::default();
        let surcharge = server.surcharge.clone();
        let runtime = Runtime::system().with_own_tasks();
        let products = Service::new("product", ProductServiceServer::new(server), runtime.tasks.clone());
        let (product, products) = testing::serve(products, GRPC_CONTRACT, test_policy(), &runtime).await;
        let bus = SqliteBus::open(&files.file("bus.db"), &Points::none()).await.unwrap();
        let bus: Arc<dyn EventBus> = Arc::new(bus);
        let runtime = runtime.with_own_tasks();
        let service = cart::build(config.clone(), product, bus.clone(), &runtime)
            .await
            .unwrap();
        let (peer, cart) = testing::serve(service, GRPC_CONTRACT, test_policy(), &runtime).await;
        Self {
            client: CartServiceClient::new(peer),
            bus,
            address: cart.address,
            surcharge,
            cart,
            products: Some(products),
            config,
            files,
        }
    }

    pub(crate) fn raise_prices(&self, by: i64) {
        *self.surcharge.lock().unwrap() += by;
    }

    /// Restarts both services on the same data.
    pub(crate) async fn restart(mut self) -> Self {
        self.close_products().await;
        self.cart.stop(10 * SECOND).await;
        Self::open_in(self.files, self.config).await
    }

    pub(crate) async fn close_products(&mut self) {
        if let Some(products) = self.products.take() {
            products.stop(10 * SECOND).await;
        }
    }

    /// The store as another process opens it.
    pub(crate) async fn sqlite_store(&self) -> Arc<dyn CartStore> {
        sqlite_store(&self.files).await
    }
}
