//! The cart service: what customers mean to buy. Purchases are removed from the carts by events.

pub mod app;
pub mod cache;
pub mod commits;
mod config;
mod document;
pub mod domain;
pub mod events;
mod grpc;
mod peers;
pub mod ports;
pub mod store;

use std::{sync::Arc, time::Duration};

use ::events::{Consumer, EventBus, ServiceEvents};
use proto::{
    cart::v1::cart_service_server::CartServiceServer,
    events::{CART_GROUP, CHECKOUTS},
};
use runtime::{Probe, Runtime, Service, channel::Peer, telemetry::chain};
use storage::OpenError;

pub use config::{Cache, Config, RedisEndpoint, RedisTls, Secret, Store};

use app::Carts;
use cache::{GuardOptions, GuardedCache, MemoryCache, RedisCache, RedisOptions};
use ports::{CartCache, CartExpiry, CartStore};
use store::{MongoCartStore, SqliteCartStore};

/// The most that is added at random to the TTL of a cache entry.
const MAX_JITTER: Duration = Duration::from_mins(5);
/// A slower cache saves no time.
const CACHE_TIMEOUT: Duration = Duration::from_millis(50);
const CACHE_RETRY_AFTER: Duration = Duration::from_secs(5);

/// Opens the store and the cache and wires the service.
pub async fn build(
    config: Config,
    product: Peer,
    bus: Arc<dyn EventBus>,
    runtime: &Runtime,
) -> Result<Service, OpenError> {
    let OpenedStore { store, probe, expiry } = open_store(&config, runtime).await?;
    let transactions = store.transactions();
    let (cache, cache_probe) = open_cache(&config, runtime).await?;
    let products = Arc::new(peers::GrpcProducts::new(product));
    let carts = Carts::new(store, cache.clone(), products, runtime);
    let grpc = CartServiceServer::new(grpc::CartGrpc::new(carts.clone()))
        .max_decoding_message_size(runtime::serve::MAX_MESSAGE_IN)
        .max_encoding_message_size(runtime::serve::MAX_MESSAGE_OUT);
    let (tasks, handler) = (runtime.tasks.clone(), Arc::new(events::PurchaseHandler::new(carts)));
    let mut service = Service::new("cart", grpc, runtime.tasks.clone())
        .consume(Consumer::new(bus, CHECKOUTS, CART_GROUP, handler, runtime))
        .background("cache", move || {
            let (cache, tasks) = (cache.clone(), tasks.clone());
            async move { cache.run_catch_up(tasks).await }
        })
        .waits_for(transactions)
        .probe(probe);
    if let Some(store) = expiry {
        let (clock, tasks) = (runtime.clock.clone(), runtime.tasks.clone());
        service = service.background("expiry", move || {
            app::expiry::run(store.clone(), clock.clone(), tasks.clone())
        });
    }
    Ok(match cache_probe {
        Some(probe) => service.probe(probe),
        None => service,
    })
}

struct OpenedStore {
    store: Arc<dyn CartStore>,
    probe: Probe,
    /// `None` if the store expires carts by itself.
    expiry: Option<Arc<dyn CartExpiry>>,
}

async fn open_store(config: &Config, runtime: &Runtime) -> Result<OpenedStore, OpenError> {
    let (name, store, expiry): (_, Arc<dyn CartStore>, Option<Arc<dyn CartExpiry>>) = match &config.store {
        Store::Sqlite(path) => {
            let store = Arc::new(SqliteCartStore::open(path, &runtime.points).await?);
            ("cart-store", store.clone(), Some(store))
        }
        Store::Mongo { uri, database } => {
            let store = Arc::new(MongoCartStore::open(uri, database, runtime).await?);
            let needs_expiry_task = store.needs_expiry_task();
            ("cart-mongodb", store.clone(), needs_expiry_task.then_some(store))
        }
    };
    let probed = store.clone();
    let probe = Probe::new(name, move || {
        let store = probed.clone();
        async move { store.is_up().await }
    });
    Ok(OpenedStore { store, probe, expiry })
}

async fn open_cache(config: &Config, runtime: &Runtime) -> Result<(Arc<GuardedCache>, Option<Probe>), OpenError> {
    let jitter = (config.cache_ttl / 3).min(MAX_JITTER);
    let (cache, probe): (Arc<dyn CartCache>, _) = match &config.cache {
        Cache::Memory => (Arc::new(MemoryCache::new(config.cache_ttl, jitter)), None),
        Cache::Redis { endpoint, prefix } => {
            let options = RedisOptions {
                endpoint,
                prefix,
                ttl: config.cache_ttl,
                jitter,
                timeout: CACHE_TIMEOUT,
            };
            let cache = RedisCache::open(options, runtime.ids.clone()).await?;
            // A crashed process may have saved carts that it could not invalidate in an unreachable Redis.
            cache.forget_all().await.map_err(|error| OpenError::Engine {
                variable: "REDIS_ADDR",
                problem: format!("Redis at {} takes no commands: {}", endpoint.address, chain(&error)),
            })?;
            (Arc::new(cache.clone()), Some(redis_probe(cache)))
        }
    };
    let options = GuardOptions {
        timeout: CACHE_TIMEOUT,
        retry_after: CACHE_RETRY_AFTER,
        max_ttl: config.cache_ttl + jitter,
    };
    Ok((Arc::new(GuardedCache::new(cache, options)), probe))
}

/// Optional: the service is ready without Redis, because it serves requests without Redis.
fn redis_probe(cache: RedisCache) -> Probe {
    let probe = Probe::new("cart-redis", move || {
        let cache = cache.clone();
        async move { cache.is_up().await }
    });
    probe.optional()
}
