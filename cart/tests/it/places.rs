//! How stores and caches of carts are opened, on every engine.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use cart::{
    RedisLink, Secret,
    cache::{MemoryCache, RedisCache, RedisOptions},
    ports::{CartCache, CartStore, OldCarts},
    store::{MongoCartStore, SqliteCartStore},
};
use runtime::{Ids, Points, Runtime};
use testing::{MemoryFixture, MongoFixture, RedisFixture, SqliteFixture};

use crate::support::{MINUTE, SECOND};

/// The store at one place.
#[async_trait]
pub(crate) trait Stores: Send + Sync {
    /// The store; the same one with every call, as after a restart.
    async fn open(&self) -> Arc<dyn CartStore>;
    /// The same store, as one that does not let old carts go by itself.
    async fn old_carts(&self) -> Arc<dyn OldCarts>;
}

pub(crate) async fn sqlite_store(fixture: &SqliteFixture) -> Arc<SqliteCartStore> {
    let store = SqliteCartStore::open(&fixture.file("cart.db"), &Points::none()).await;
    Arc::new(store.unwrap())
}

#[async_trait]
impl Stores for SqliteFixture {
    async fn open(&self) -> Arc<dyn CartStore> {
        sqlite_store(self).await
    }

    async fn old_carts(&self) -> Arc<dyn OldCarts> {
        sqlite_store(self).await
    }
}

pub(crate) async fn mongo_store(fixture: &MongoFixture) -> MongoCartStore {
    let store = MongoCartStore::open(&Secret::new(&*fixture.uri), &fixture.name, &Runtime::system()).await;
    store.unwrap()
}

#[async_trait]
impl Stores for MongoFixture {
    async fn open(&self) -> Arc<dyn CartStore> {
        Arc::new(mongo_store(self).await)
    }

    async fn old_carts(&self) -> Arc<dyn OldCarts> {
        Arc::new(mongo_store(self).await)
    }
}

/// The cache at one place, empty at first.
#[async_trait]
pub(crate) trait Caches: Send + Sync {
    /// The cache, as one of the processes that use it has it. Its entries live for this long.
    async fn living_for(&self, ttl: Duration) -> Arc<dyn CartCache>;
    /// Empties it, as an engine that is started anew is empty.
    async fn forget(&self);

    async fn cache(&self) -> Arc<dyn CartCache> {
        self.living_for(MINUTE).await
    }
}

pub(crate) type MemoryCaches = MemoryFixture<OnceLock<MemoryCache>>;

#[async_trait]
impl Caches for MemoryCaches {
    async fn living_for(&self, ttl: Duration) -> Arc<dyn CartCache> {
        let cache = self.0.get_or_init(|| MemoryCache::new(ttl, Duration::ZERO));
        Arc::new(cache.clone())
    }

    async fn forget(&self) {
        self.0.get().unwrap().clear();
    }
}

pub(crate) async fn redis_cache(fixture: &RedisFixture, ttl: Duration) -> RedisCache {
    let link = RedisLink::open(&*fixture.address);
    open_redis(redis_options(fixture, &link, ttl)).await
}

/// Of entries that live for this long, on a Redis that is given time.
pub(crate) fn redis_options<'a>(fixture: &'a RedisFixture, link: &'a RedisLink, ttl: Duration) -> RedisOptions<'a> {
    RedisOptions {
        link,
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
impl Caches for RedisFixture {
    async fn living_for(&self, ttl: Duration) -> Arc<dyn CartCache> {
        Arc::new(redis_cache(self, ttl).await)
    }

    async fn forget(&self) {
        self.clear().await;
    }
}
