//! Copies of carts in Redis, which all processes that name the same one share.
//!
//! A key holds a cart, `{"version":5,"era":"…","cart":{…}}`, or a gap, `{"oldest":5,"ticket":"…","era":"…"}`: no cart, none
//! older than that version is to come, and who brings one shows the ticket. A Redis that was emptied, has made room or was
//! started anew has lost its gaps, and with them who is about to write what; but their tickets, too. So what was loaded or
//! written before that is not taken afterwards: there is no race between a reader, a writer and a flush in which an old cart
//! stays.
//!
//! A process that could not reach Redis when it saved a cart tells it later, unless it dies first. So each process that starts
//! begins an era, and what is of another one counts as nothing.
//!
//! What remains: a Redis that comes back with older data than it had (a replica that takes over before it has all) shows
//! older carts until they are written again or their life is over; so it does if a writer dies in the moment between its
//! save and its last word to a Redis that was emptied after its first word. A purchase is made past the cache.

mod connection;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use redis::{FromRedisValue, RedisError, Script, ScriptInvocation, aio::ConnectionManager};
use runtime::{Ids, deadlines::PROBE_QUESTION};
use serde::Deserialize;
use storage::OpenError;
use tokio::time::timeout;
use uuid::Uuid;

use super::lifetime::Lifetime;
use crate::{
    config::RedisLink,
    document::CartDocument,
    domain::{Cart, UserId, Version},
    ports::{CacheError, Cached, CartCache, Ticket},
};

const FORGET_TIMEOUT: Duration = Duration::from_secs(4);

/// What it takes to open one.
#[derive(Debug, Clone)]
pub struct RedisOptions<'a> {
    pub link: &'a RedisLink,
    /// What every key begins with.
    pub prefix: &'a str,
    /// Entries live for `ttl` and up to `jitter` more.
    pub ttl: Duration,
    pub jitter: Duration,
    /// A call that takes longer has failed.
    pub timeout: Duration,
}

/// Carts under `<prefix>cart:<user>`. Clones share the connection.
#[derive(Debug, Clone)]
pub struct RedisCache {
    connection: ConnectionManager,
    prefix: String,
    lifetime: Lifetime,
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

/// What all scripts begin with: what the key holds. Versions stay text where they are written again.
const HELD: &str = r#"
    local key, head, era = KEYS[1], redis.call("GETRANGE", KEYS[1], 0, 191), redis.call("GET", KEYS[2])
    if not era then
        era = ARGV[1]
        redis.call("SET", KEYS[2], era)
    end
    local version, its = string.match(head, '^{"version":(%d+),"era":"([^"]*)",')
    if its ~= era then version = nil end
    local oldest, ticket, its = string.match(head, '^{"oldest":(%d+),"ticket":"([^"]*)","era":"([^"]*)"}$')
    if its ~= era then oldest, ticket = nil, nil end
    local function gap(oldest, ticket)
        local held = '{"oldest":' .. oldest .. ',"ticket":"' .. ticket .. '","era":"' .. era .. '"}'
        redis.call("SET", key, held, "PX", ARGV[2])
    end
"#;

/// Ticket of a new gap, life of gaps. Returns what is held.
const GET: &str = r#"
    if not version and not oldest then gap("0", ARGV[1]) end
    return redis.call("GET", key)
"#;

/// Ticket that is shown, life of gaps, version, cart, its life.
const PUT: &str = r#"
    local new = tonumber(ARGV[3])
    if version and tonumber(version) < new or oldest and tonumber(oldest) <= new and ticket == ARGV[1] then
        local held = '{"version":' .. ARGV[3] .. ',"era":"' .. era .. '","cart":' .. ARGV[4] .. '}'
        redis.call("SET", key, held, "PX", ARGV[5])
    elseif oldest and tonumber(oldest) < new then
        gap(ARGV[3], ticket)
    end
"#;

/// Ticket of a new gap, life of gaps, version. Returns the ticket of the gap.
const INVALIDATE: &str = r"
    local new = tonumber(ARGV[3])
    if version and tonumber(version) >= new then return ARGV[1] end
    if not oldest or tonumber(oldest) < new then oldest = ARGV[3] end
    gap(oldest, ticket or ARGV[1])
    return ticket or ARGV[1]
";

/// What a key holds of this era, as the scripts write it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Held {
    Cart {
        #[serde(rename = "version")]
        _version: i64,
        /// Nothing for somebody who never filled a cart.
        cart: Option<Box<CartDocument>>,
    },
    Gap {
        #[serde(rename = "oldest")]
        _oldest: i64,
        ticket: Uuid,
    },
}

impl RedisCache {
    /// Connects. Returns within a few seconds, also when nobody answers.
    pub async fn open(options: RedisOptions<'_>, ids: Ids) -> Result<Self, OpenError> {
        let script = |body: &str| Script::new(&[HELD, body].concat());
        Ok(Self {
            connection: connection::open(options.link).await?,
            prefix: options.prefix.to_owned(),
            lifetime: Lifetime {
                ttl: options.ttl,
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

    /// Begins an era: nobody believes any more what was kept until now.
    pub async fn forget_all(&self) -> Result<(), CacheError> {
        let begin = redis::Cmd::set(self.era_key(), self.ids.next().to_string());
        self.within(PROBE_QUESTION, async |connection| begin.query_async(connection).await)
            .await
    }

    /// Whether it answers: for a readiness probe.
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

    /// A call of a script, with what all of them take. A gap lives as long as any entry can.
    fn script<'a>(&self, script: &'a Script, user: &UserId, ticket: Ticket) -> ScriptInvocation<'a> {
        let mut call = script.key(self.key(user));
        call.key(self.era_key())
            .arg(ticket.0.to_string())
            .arg(milliseconds(self.lifetime.longest()));
        call
    }

    async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, CacheError> {
        self.bounded(async |connection| script.invoke_async(connection).await)
            .await
    }

    async fn bounded<T>(
        &self,
        call: impl AsyncFnOnce(&mut ConnectionManager) -> Result<T, RedisError>,
    ) -> Result<T, CacheError> {
        self.within(self.timeout, call).await
    }

    /// The connection may be one that is still to be made, which takes longer than anybody waits.
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
        let script = self.script(&self.scripts.get, user, Ticket(self.ids.next()));
        let held: Vec<u8> = self.run(&script).await?;
        match decode(user, &held) {
            Ok(held) => Ok(held),
            Err(error) => {
                // Whatever it is, it is no cart, and would be none the next time.
                tracing::warn!(
                    error = runtime::telemetry::chain(error.as_ref()),
                    "forgot a copy that is no cart"
                );
                self.forget(user).await?;
                let held: Vec<u8> = self.run(&script).await?;
                decode(user, &held).map_err(CacheError)
            }
        }
    }

    async fn put(&self, cart: Arc<Cart>, ticket: Ticket) -> Result<(), CacheError> {
        let entry = encode(&cart).map_err(CacheError)?;
        let mut script = self.script(&self.scripts.put, &cart.user, ticket);
        script
            .arg(cart.version.0)
            .arg(entry)
            .arg(milliseconds(self.lifetime.draw()));
        self.run(&script).await
    }

    async fn invalidate(&self, user: &UserId, version: Version) -> Result<Ticket, CacheError> {
        let mut script = self.script(&self.scripts.invalidate, user, Ticket(self.ids.next()));
        script.arg(version.0);
        let ticket: String = self.run(&script).await?;
        ticket.parse().map(Ticket).map_err(|error| CacheError(Box::new(error)))
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

fn decode(user: &UserId, held: &[u8]) -> Result<Cached, Source> {
    Ok(match serde_json::from_slice(held)? {
        Held::Cart { cart: Some(cart), .. } => Cached::Cart(Arc::new(cart.cart_of(user)?)),
        Held::Cart { cart: None, .. } => Cached::Cart(Arc::new(Cart::never_filled(user.clone()))),
        Held::Gap { ticket, .. } => Cached::Nothing(Ticket(ticket)),
    })
}

fn milliseconds(life: Duration) -> u64 {
    // Redis refuses a life of nothing.
    u64::try_from(life.as_millis()).unwrap_or(u64::MAX).max(1)
}
