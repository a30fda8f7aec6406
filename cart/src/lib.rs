//! Carts: what customers mean to buy. One document each, which changes by rules and loses what was bought.

pub mod app;
pub mod cache;
mod config;
pub mod domain;
pub mod events;
mod grpc;
mod peers;
pub mod ports;
pub mod store;

use std::{sync::Arc, time::Duration};

use ::events::EventBus;
use proto::cart::v1::cart_service_server::CartServiceServer;
use runtime::{Probe, Runtime, Service, channel::Peer};
use storage::OpenError;

pub use config::{Cache, Config, Store};

use app::Carts;
use cache::{GuardedCache, MemoryCache, Patience};
use ports::{CartCache, CartStore};
use store::SqliteCartStore;

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
    let store: Arc<dyn CartStore> = match &config.store {
        Store::Sqlite(path) => Arc::new(SqliteCartStore::open(path, &runtime.crash).await?),
    };
    let products = Arc::new(peers::GrpcProducts::new(product));
    let carts = Carts::new(store.clone(), cache(&config), products, runtime);
    let grpc = CartServiceServer::new(grpc::CartGrpc::new(carts.clone()));
    let probe = Probe::new("cart-store", move || {
        let store = store.clone();
        async move { store.is_up().await }
    });
    Ok(Service::new("cart", grpc, runtime.tasks.clone())
        .background("consumer", events::consume(carts, bus, runtime.clone()))
        .probe(probe))
}

fn cache(config: &Config) -> GuardedCache {
    let jitter = (config.cache_ttl / 3).min(MAX_JITTER);
    let cache: Arc<dyn CartCache> = match config.cache {
        Cache::Memory => Arc::new(MemoryCache::new(config.cache_ttl, jitter)),
    };
    let lifetime = config.cache_ttl + jitter;
    GuardedCache::new(
        cache,
        Patience {
            timeout: CACHE_TIMEOUT,
            pause: CACHE_PAUSE,
            lifetime,
        },
    )
}
