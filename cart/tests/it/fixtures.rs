//! Opens cart stores and caches on every engine.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use cart::{
    RedisEndpoint, Secret,
    cache::{MemoryCache, RedisCache, RedisOptions},
    ports::{CartCache, CartExpiry, CartStore},
    store::{MongoCartStore, SqliteCartStore},
};
use runtime::{Ids, Points, Runtime};
use testing::{MemoryFixture, MongoFixture, RedisFixture, SqliteFixture};

use crate::support::{MINUTE, SECOND};

#[async_trait]
pub(crate) trait StoreFixture: Send + Sync {
    /// Opens the same store with every call, as after a restart.
    async fn open(&self) -> Arc<dyn CartStore>;
    async fn expiry(&self) -> Arc<dyn CartExpiry>;
}

pub(crate) async fn sqlite_store(fixture: &SqliteFixture) -> Arc<SqliteCartStore> {
    let store = SqliteCartStore::open(&fixture.file("cart.db"), &Points::none()).await;
    Arc::new(store.unwrap())
}

#[async_trait]
impl StoreFixture for SqliteFixture {
    async fn open(&self) -> Arc<dyn CartStore> {
        sqlite_store(self).await
    }

    async fn expiry(&self) -> Arc<dyn CartExpiry> {
        sqlite_store(self).await
    }
}

pub(crate) async fn mongo_store(fixture: &MongoFixture) -> MongoCartStore {
    let store = MongoCartStore::open(&Secret::new(&*fixture.uri), &fixture.name, &Runtime::system()).await;
    store.unwrap()
}

#[async_trait]
impl StoreFixture for MongoFixture {
    async fn open(&self) -> Arc<dyn CartStore> {
        Arc::new(mongo_store(self).await)
    }

    async fn expiry(&self) -> Arc<dyn CartExpiry> {
        Arc::new(mongo_store(self).await)
    }
}

/// A cache, empty at first. One TTL holds for a fixture: the cache in memory keeps that of the first call.
#[async_trait]
pub(crate) trait CacheFixture: Send + Sync {
    /// Opens the same cache with every call, as another process does.
    async fn cache_with_ttl(&self, ttl: Duration) -> Arc<dyn CartCache>;
    /// Empties the cache, as a restart of the engine does.
    async fn flush(&self);

    async fn cache(&self) -> Arc<dyn CartCache> {
        self.cache_with_ttl(MINUTE).await
    }
}

pub(crate) type MemoryCacheFixture = MemoryFixture<OnceLock<MemoryCache>>;

#[async_trait]
impl CacheFixture for MemoryCacheFixture {
    async fn cache_with_ttl(&self, ttl: Duration) -> Arc<dyn CartCache> {
        let cache = self.0.get_or_init(|| MemoryCache::new(ttl, Duration::ZERO));
        Arc::new(cache.clone())
    }

    async fn flush(&self) {
        self.0.get().unwrap().clear();
    }
}

pub(crate) async fn redis_cache(fixture: &RedisFixture, ttl: Duration) -> RedisCache {
    let endpoint = RedisEndpoint::plaintext(&*fixture.address);
    open_redis(redis_options(fixture, &endpoint, ttl)).await
}

/// With a timeout that a slow machine can keep.
pub(crate) fn redis_options<'a>(
    fixture: &'a RedisFixture,
    endpoint: &'a RedisEndpoint,
    ttl: Duration,
) -> RedisOptions<'a> {
    RedisOptions {
        endpoint,
        prefix: &fixture.prefix,
        ttl,
        jitter: Duration::ZERO,
        timeout: 10 * SECOND,
    }
}

pub(crate) async fn open_redis(options: RedisOptions<'_>) -> RedisCache {
    RedisCache::open(options, Ids::random()).await.unwrap()
}

#[async_trait]
impl CacheFixture for RedisFixture {
    async fn cache_with_ttl(&self, ttl: Duration) -> Arc<dyn CartCache> {
        Arc::new(redis_cache(self, ttl).await)
    }

    async fn flush(&self) {
        self.clear().await;
    }
}
