//! Carts: what customers mean to buy. One document each, which changes by rules and loses what was bought.

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

pub use config::{Cache, Config, RedisLink, RedisTls, Secret, Store};

use app::Carts;
use cache::{GuardedCache, MemoryCache, Patience, RedisCache, RedisOptions};
use ports::{CartCache, CartStore, OldCarts};
use store::{MongoCartStore, SqliteCartStore};

/// The most that is added to a cache entry's life at random.
const MAX_JITTER: Duration = Duration::from_mins(5);
/// A cache that takes longer than this is no help.
const CACHE_TIMEOUT: Duration = Duration::from_millis(50);
const CACHE_PAUSE: Duration = Duration::from_secs(5);

/// The service, with its store open and its schema up to date.
pub async fn build(
    config: Config,
    product: Peer,
    bus: Arc<dyn EventBus>,
    runtime: &Runtime,
) -> Result<Service, OpenError> {
    let Opened {
        engine: store,
        probe,
        sweep,
    } = open_store(&config, runtime).await?;
    let transactions = store.transactions();
    let (cache, cache_probe) = open_cache(&config, runtime).await?;
    let products = Arc::new(peers::GrpcProducts::new(product));
    let carts = Carts::new(store, cache.clone(), products, runtime);
    let grpc = CartServiceServer::new(grpc::CartGrpc::new(carts.clone()))
        .max_decoding_message_size(runtime::serve::MAX_MESSAGE_IN)
        .max_encoding_message_size(runtime::serve::MAX_MESSAGE_OUT);
    let (tasks, handler) = (runtime.tasks.clone(), Arc::new(events::Purchases::new(carts)));
    let mut service = Service::new("cart", grpc, runtime.tasks.clone())
        .consume(Consumer::new(bus, CHECKOUTS, CART_GROUP, handler, runtime))
        .background("cache", move || {
            let (cache, tasks) = (cache.clone(), tasks.clone());
            async move { cache.keep_up(tasks).await }
        })
        .waits_for(transactions)
        .probe(probe);
    if let Some(store) = sweep {
        let (clock, tasks) = (runtime.clock.clone(), runtime.tasks.clone());
        service = service.background("expiry", move || {
            app::expiry::keep_swept(store.clone(), clock.clone(), tasks.clone())
        });
    }
    Ok(match cache_probe {
        Some(probe) => service.probe(probe),
        None => service,
    })
}

struct Opened {
    engine: Arc<dyn CartStore>,
    probe: Probe,
    /// A store that does not drop old carts by itself.
    sweep: Option<Arc<dyn OldCarts>>,
}

async fn open_store(config: &Config, runtime: &Runtime) -> Result<Opened, OpenError> {
    let (name, engine, sweep): (_, Arc<dyn CartStore>, Option<Arc<dyn OldCarts>>) = match &config.store {
        Store::Sqlite(path) => {
            let store = Arc::new(SqliteCartStore::open(path, &runtime.points).await?);
            ("cart-store", store.clone(), Some(store))
        }
        Store::Mongo { uri, database } => {
            let store = Arc::new(MongoCartStore::open(uri, database, runtime).await?);
            let wants_sweeps = store.wants_sweeps();
            ("cart-mongodb", store.clone(), wants_sweeps.then_some(store))
        }
    };
    let store = engine.clone();
    let probe = Probe::new(name, move || {
        let store = store.clone();
        async move { store.is_up().await }
    });
    Ok(Opened { engine, probe, sweep })
}

async fn open_cache(config: &Config, runtime: &Runtime) -> Result<(Arc<GuardedCache>, Option<Probe>), OpenError> {
    let jitter = (config.cache_ttl / 3).min(MAX_JITTER);
    let (cache, probe): (Arc<dyn CartCache>, _) = match &config.cache {
        Cache::Memory => (Arc::new(MemoryCache::new(config.cache_ttl, jitter)), None),
        Cache::Redis { link, prefix } => {
            let options = RedisOptions {
                link,
                prefix,
                ttl: config.cache_ttl,
                jitter,
                timeout: CACHE_TIMEOUT,
            };
            let cache = RedisCache::open(options, runtime.ids.clone()).await?;
            // Whoever died may have saved a cart without a word to a Redis that was slow or away.
            cache.forget_all().await.map_err(|error| OpenError::Engine {
                variable: "REDIS_ADDR",
                problem: format!("Redis at {} takes no commands: {}", link.address, chain(&error)),
            })?;
            (Arc::new(cache.clone()), Some(redis_probe(cache)))
        }
    };
    let patience = Patience {
        timeout: CACHE_TIMEOUT,
        pause: CACHE_PAUSE,
        lifetime: config.cache_ttl + jitter,
    };
    Ok((Arc::new(GuardedCache::new(cache, patience)), probe))
}

/// Requests are served without it, so the service is ready without it.
fn redis_probe(cache: RedisCache) -> Probe {
    let probe = Probe::new("cart-redis", move || {
        let cache = cache.clone();
        async move { cache.is_up().await }
    });
    probe.optional()
}
