//! The cart cache in Redis, shared by all processes with the same address and prefix.
//!
//! A key holds a cart, `{"version":5,"era":"…","cart":{…}}`, or a tombstone, `{"oldest":5,"ticket":"…","era":"…"}`. A
//! tombstone accepts a cart of that version or newer with its token (`ticket`). A flush, an eviction or a restart of
//! Redis removes tombstones and so invalidates their tokens: carts loaded or written before are refused afterwards. No
//! race of a reader, a writer and a flush leaves an old cart.
//!
//! A process that cannot reach Redis when it saves a cart invalidates the copy later, unless it crashes first. So each
//! process begins a new era when it starts, and entries of other eras count as missing.
//!
//! Limits: a failover to a replica that lags shows older carts until they are written again or expire. So does a crash
//! between the save and the `put` if Redis was flushed after the `invalidate`. Purchases do not read the cache.

mod connection;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use redis::{FromRedisValue, RedisError, Script, ScriptInvocation, aio::ConnectionManager};
use runtime::{Ids, deadlines::PROBE_QUESTION};
use serde::Deserialize;
use storage::OpenError;
use tokio::time::timeout;
use uuid::Uuid;

use super::ttl::EntryTtl;
use crate::{
    config::RedisEndpoint,
    document::CartDocument,
    domain::{Cart, UserId, Version},
    ports::{CacheError, Cached, CartCache, FillToken},
};

const FORGET_TIMEOUT: Duration = Duration::from_secs(4);

#[derive(Debug, Clone)]
pub struct RedisOptions<'a> {
    pub endpoint: &'a RedisEndpoint,
    /// The prefix of every key.
    pub prefix: &'a str,
    /// Entries live for `ttl` plus a random part of `jitter`.
    pub ttl: Duration,
    pub jitter: Duration,
    /// A slower call has failed.
    pub timeout: Duration,
}

/// Carts under `<prefix>cart:<user>`. Clones share the connection.
#[derive(Debug, Clone)]
pub struct RedisCache {
    connection: ConnectionManager,
    prefix: String,
    ttl: EntryTtl,
    timeout: Duration,
    ids: Ids,
    scripts: Arc<Scripts>,
}

#[derive(Debug)]
struct Scripts {
    get: Script,
    put: Script,
    invalidate: Script,
}

/// Begins all scripts: reads the entry, ignoring other eras. Versions that are written again stay text.
const READ_ENTRY: &str = r#"
    local key, head, era = KEYS[1], redis.call("GETRANGE", KEYS[1], 0, 191), redis.call("GET", KEYS[2])
    if not era then
        era = ARGV[1]
        redis.call("SET", KEYS[2], era)
    end
    local version, entry_era = string.match(head, '^{"version":(%d+),"era":"([^"]*)",')
    if entry_era ~= era then version = nil end
    local oldest, ticket, entry_era = string.match(head, '^{"oldest":(%d+),"ticket":"([^"]*)","era":"([^"]*)"}$')
    if entry_era ~= era then oldest, ticket = nil, nil end
    local function set_tombstone(oldest, ticket)
        local entry = '{"oldest":' .. oldest .. ',"ticket":"' .. ticket .. '","era":"' .. era .. '"}'
        redis.call("SET", key, entry, "PX", ARGV[2])
    end
"#;

/// Takes the token of a new tombstone and the TTL of tombstones. Returns the entry.
const GET: &str = r#"
    if not version and not oldest then set_tombstone("0", ARGV[1]) end
    return redis.call("GET", key)
"#;

/// Takes the caller's token, the TTL of tombstones, the version, the cart and its TTL.
const PUT: &str = r#"
    local new = tonumber(ARGV[3])
    if version and tonumber(version) < new or oldest and tonumber(oldest) <= new and ticket == ARGV[1] then
        local entry = '{"version":' .. ARGV[3] .. ',"era":"' .. era .. '","cart":' .. ARGV[4] .. '}'
        redis.call("SET", key, entry, "PX", ARGV[5])
    elseif oldest and tonumber(oldest) < new then
        set_tombstone(ARGV[3], ticket)
    end
"#;

/// Takes the token of a new tombstone, the TTL of tombstones and the version. Returns the tombstone's token.
const INVALIDATE: &str = r"
    local new = tonumber(ARGV[3])
    if version and tonumber(version) >= new then return ARGV[1] end
    if not oldest or tonumber(oldest) < new then oldest = ARGV[3] end
    set_tombstone(oldest, ticket or ARGV[1])
    return ticket or ARGV[1]
";

/// An entry of this era, as the scripts write it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Cart {
        #[serde(rename = "version")]
        _version: i64,
        /// `None` for a cart that was never changed.
        cart: Option<Box<CartDocument>>,
    },
    Tombstone {
        #[serde(rename = "oldest")]
        _oldest: i64,
        ticket: Uuid,
    },
}

impl RedisCache {
    /// Connects. Returns within a few seconds, even without an answer.
    pub async fn open(options: RedisOptions<'_>, ids: Ids) -> Result<Self, OpenError> {
        let script = |body: &str| Script::new(&[READ_ENTRY, body].concat());
        Ok(Self {
            connection: connection::open(options.endpoint).await?,
            prefix: options.prefix.to_owned(),
            ttl: EntryTtl {
                base: options.ttl,
                jitter: options.jitter,
            },
            timeout: options.timeout,
            ids,
            scripts: Arc::new(Scripts {
                get: script(GET),
                put: script(PUT),
                invalidate: script(INVALIDATE),
            }),
        })
    }

    /// Begins a new era, which invalidates all entries.
    pub async fn forget_all(&self) -> Result<(), CacheError> {
        let begin = redis::Cmd::set(self.era_key(), self.ids.next().to_string());
        self.within(PROBE_QUESTION, async |connection| begin.query_async(connection).await)
            .await
    }

    /// Whether Redis answers: for a readiness probe.
    pub async fn is_up(&self) -> bool {
        let (ping, mut connection) = (redis::cmd("PING"), self.connection.clone());
        let answer = ping.query_async::<()>(&mut connection);
        matches!(timeout(PROBE_QUESTION, answer).await, Ok(Ok(())))
    }

    fn key(&self, user: &UserId) -> String {
        format!("{}cart:{}", self.prefix, user.as_str())
    }

    fn era_key(&self) -> String {
        format!("{}cart-era", self.prefix)
    }

    /// A call with the arguments of all scripts. Tombstones get the longest TTL of an entry.
    fn script<'a>(&self, script: &'a Script, user: &UserId, token: FillToken) -> ScriptInvocation<'a> {
        let mut call = script.key(self.key(user));
        call.key(self.era_key())
            .arg(token.0.to_string())
            .arg(milliseconds(self.ttl.max()));
        call
    }

    async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, CacheError> {
        self.within(self.timeout, async |connection| script.invoke_async(connection).await)
            .await
    }

    /// Bounds a call, which may first have to wait for a new connection.
    async fn within<T>(
        &self,
        limit: Duration,
        call: impl AsyncFnOnce(&mut ConnectionManager) -> Result<T, RedisError>,
    ) -> Result<T, CacheError> {
        let mut connection = self.connection.clone();
        match timeout(limit, call(&mut connection)).await {
            Ok(done) => done.map_err(|error| CacheError(error.into())),
            Err(elapsed) => Err(CacheError(elapsed.into())),
        }
    }
}

#[async_trait]
impl CartCache for RedisCache {
    async fn get(&self, user: &UserId) -> Result<Cached, CacheError> {
        let script = self.script(&self.scripts.get, user, FillToken(self.ids.next()));
        let entry: Vec<u8> = self.run(&script).await?;
        match decode(user, &entry) {
            Ok(cached) => Ok(cached),
            Err(error) => {
                tracing::warn!(
                    error = runtime::telemetry::chain(error.as_ref()),
                    "removed a cache entry that is no cart of its customer"
                );
                self.forget(user).await?;
                let entry: Vec<u8> = self.run(&script).await?;
                decode(user, &entry).map_err(CacheError)
            }
        }
    }

    async fn put(&self, cart: Arc<Cart>, token: FillToken) -> Result<(), CacheError> {
        let document = encode(&cart).map_err(CacheError)?;
        let mut script = self.script(&self.scripts.put, &cart.user, token);
        script
            .arg(cart.version.0)
            .arg(document)
            .arg(milliseconds(self.ttl.random()));
        self.run(&script).await
    }

    async fn invalidate(&self, user: &UserId, version: Version) -> Result<FillToken, CacheError> {
        let mut script = self.script(&self.scripts.invalidate, user, FillToken(self.ids.next()));
        script.arg(version.0);
        let token: String = self.run(&script).await?;
        token
            .parse()
            .map(FillToken)
            .map_err(|error| CacheError(Box::new(error)))
    }

    async fn forget(&self, user: &UserId) -> Result<(), CacheError> {
        let forget = redis::Cmd::del(self.key(user));
        self.within(FORGET_TIMEOUT, async |connection| forget.query_async(connection).await)
            .await
    }
}

type Source = Box<dyn std::error::Error + Send + Sync>;

fn encode(cart: &Cart) -> Result<String, Source> {
    let document = cart.id.map(|_| CartDocument::try_from(cart)).transpose()?;
    Ok(serde_json::to_string(&document)?)
}

fn decode(user: &UserId, entry: &[u8]) -> Result<Cached, Source> {
    Ok(match serde_json::from_slice(entry)? {
        Entry::Cart { cart: Some(cart), .. } => Cached::Cart(Arc::new(cart.into_cart(user)?)),
        Entry::Cart { cart: None, .. } => Cached::Cart(Arc::new(Cart::new(user.clone()))),
        Entry::Tombstone { ticket, .. } => Cached::Missing(FillToken(ticket)),
    })
}

fn milliseconds(ttl: Duration) -> u64 {
    // Redis refuses a TTL of 0.
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1)
}
