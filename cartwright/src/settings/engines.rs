//! The engines of a shop: embedded, or those whose addresses are set.

mod kafka;
mod postgres;
mod redis;

use std::path::PathBuf;

use clap::Args;
use runtime::config::{ConfigError, is_host_and_port};
use storage::{Database, PostgresAddress, PostgresParts};

use super::{Databases, ServiceName, Settings};
use crate::services::Store;
use kafka::KafkaSecurity;
use postgres::PostgresSecurity;
use redis::RedisSecurity;

/// Addresses of real engines.
#[derive(Debug, Clone, Args)]
pub struct Engines {
    /// PostgreSQL, for everything but carts: `postgres://user:password@host:5432/database` [default: SQLite files in
    /// `DATA_DIR`].
    #[arg(long, env, global = true)]
    pub database_url: Option<String>,
    /// PostgreSQL's host, in place of `DATABASE_URL`.
    #[arg(long, env, global = true)]
    pub db_host: Option<String>,
    /// PostgreSQL's port, for `DB_HOST`.
    #[arg(long, env, global = true, default_value_t = 5432, hide_short_help = true)]
    pub db_port: u16,
    /// PostgreSQL's user, for `DB_HOST`.
    #[arg(long, env, global = true, default_value = "cartwright", hide_short_help = true)]
    pub db_user: String,
    /// The password of `DB_USER`.
    #[arg(long, env, global = true, hide_short_help = true)]
    pub db_password: Option<String>,
    /// PostgreSQL's database, for `DB_HOST`.
    #[arg(long, env, global = true, default_value = "cartwright", hide_short_help = true)]
    pub db_name: String,
    #[command(flatten)]
    pub postgres_security: PostgresSecurity,
    #[command(flatten)]
    pub databases: Databases,
    /// MongoDB, for carts: `mongodb://host:27017/` [default: a SQLite file in `DATA_DIR`].
    #[arg(long, env, global = true)]
    pub mongo_uri: Option<String>,
    /// The database of carts, in MongoDB.
    #[arg(long, env, global = true, default_value = "cartdb", hide_short_help = true)]
    pub mongo_db_name: String,
    /// Redis, as the cache of carts: host:6379. Several cart processes need it [default: in this process].
    #[arg(long, env, global = true)]
    pub redis_addr: Option<String>,
    #[command(flatten)]
    pub redis_security: RedisSecurity,
    /// Kafka, as the event bus: host:9092, more with commas between them [default: a SQLite file in `DATA_DIR`].
    #[arg(long, env, global = true)]
    pub kafka_brokers: Option<String>,
    /// Another name of `KAFKA_BROKERS`.
    #[arg(long, env, global = true, hide_short_help = true)]
    pub kafka_bootstrap_servers: Option<String>,
    /// Another name of `KAFKA_BROKERS`.
    #[arg(long, env, global = true, hide_short_help = true)]
    pub kafka_addr: Option<String>,
    #[command(flatten)]
    pub kafka_security: KafkaSecurity,
    /// A prefix of topics, consumer groups and cache keys, for shops that share a Kafka or a Redis.
    #[arg(long, env, global = true)]
    pub namespace: Option<String>,
    /// The name of this process in leases: after a restart under its name it continues its sagas at once. No two live
    /// processes may share a name [default: a new one at each start].
    #[arg(long, env, global = true)]
    pub instance: Option<String>,
}

/// An empty variable counts as unset.
fn non_empty(value: Option<&String>) -> Option<&str> {
    value.map(String::as_str).filter(|value| !value.is_empty())
}

/// `host:port`, or with a protocol in front, as librdkafka accepts it.
fn is_broker(text: &str) -> bool {
    let text = text.trim();
    is_host_and_port(text.split_once("://").map_or(text, |(_, broker)| broker))
}

impl Engines {
    /// The PostgreSQL address of this service; `None`: SQLite.
    pub fn postgres(&self, service: ServiceName) -> Result<Option<PostgresAddress>, ConfigError> {
        if let Store::Relational { url, .. } = service.definition().store
            && let Some(address) = non_empty(self.databases.of(service))
        {
            return PostgresAddress::from_url(url, address).map(Some);
        }
        let shared = non_empty(self.database_url.as_ref());
        match (shared, non_empty(self.db_host.as_ref())) {
            (Some(_), Some(_)) => Err(ConfigError::new(
                "DB_HOST",
                "is set together with DATABASE_URL; set one of them",
            )),
            (Some(url), None) => PostgresAddress::from_url("DATABASE_URL", url).map(Some),
            (None, Some(host)) => PostgresAddress::from_parts(PostgresParts {
                host,
                port: self.db_port,
                user: &self.db_user,
                password: non_empty(self.db_password.as_ref()),
                database: &self.db_name,
                tls: self.postgres_security.tls(),
            })
            .map(Some),
            (None, None) => Ok(None),
        }
    }

    pub fn mongo(&self) -> Option<&str> {
        non_empty(self.mongo_uri.as_ref())
    }

    pub fn redis(&self) -> Option<&str> {
        non_empty(self.redis_addr.as_ref())
    }

    /// The brokers, if set, with the variable that names them.
    pub fn kafka(&self) -> Option<(&'static str, &str)> {
        let names = [
            ("KAFKA_BROKERS", &self.kafka_brokers),
            ("KAFKA_BOOTSTRAP_SERVERS", &self.kafka_bootstrap_servers),
            ("KAFKA_ADDR", &self.kafka_addr),
        ];
        names
            .into_iter()
            .find_map(|(name, value)| Some((name, non_empty(value.as_ref())?)))
    }

    /// The prefix of topics, groups and cache keys.
    pub fn namespace(&self) -> &str {
        non_empty(self.namespace.as_ref()).unwrap_or_default()
    }

    /// The name of this process in leases.
    pub fn instance(&self) -> Option<&str> {
        non_empty(self.instance.as_ref())
    }

    /// Settings that are valid but let others read the traffic.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let redis = self.redis().and_then(|_| self.redis_security.warning());
        let kafka = self.kafka().and_then(|_| self.kafka_security.warning());
        redis.into_iter().chain(kafka).collect()
    }

    /// Checks without connecting.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        for service in ServiceName::ALL {
            self.postgres(service)?;
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if self.namespace().len() > 100 || !self.namespace().chars().all(fits) {
            return Err(ConfigError::new(
                "NAMESPACE",
                "must be at most 100 letters, digits, '.', '_' and '-'",
            ));
        }
        if self.redis().is_some_and(|redis| !is_host_and_port(redis)) {
            return Err(ConfigError::new(
                "REDIS_ADDR",
                "must read like host:6379; the password is in REDIS_PASSWORD",
            ));
        }
        self.postgres_security.check()?;
        self.redis_security.check()?;
        self.kafka_security.link()?;
        if let Some((variable, brokers)) = self.kafka() {
            if !brokers.split(',').all(is_broker) {
                return Err(ConfigError::new(variable, "must read like host:9092,host:9092"));
            }
            self.kafka_security.check_brokers(variable, brokers)?;
        }
        self.mongo().map_or(Ok(()), cart::store::check_mongo_uri)
    }
}

impl Settings {
    /// The database of a service.
    pub(crate) fn database(&self, service: ServiceName) -> Result<Database, ConfigError> {
        Ok(match self.engines.postgres(service)? {
            Some(address) => Database::Postgres(address),
            None => Database::Sqlite(self.file(service.as_str())),
        })
    }

    /// The ledger of the simulated provider: in payment's PostgreSQL database, or in an SQLite file of its own.
    pub(crate) fn provider_ledger(&self) -> Result<Database, ConfigError> {
        Ok(match self.database(ServiceName::Payment)? {
            Database::Postgres(address) => Database::Postgres(address),
            Database::Sqlite(_) => Database::Sqlite(self.file("provider")),
        })
    }

    pub(crate) fn cart_store(&self) -> cart::Store {
        match self.engines.mongo() {
            Some(uri) => cart::Store::Mongo {
                uri: cart::Secret::new(uri),
                database: self.engines.mongo_db_name.clone(),
            },
            None => cart::Store::Sqlite(self.file(ServiceName::Cart.as_str())),
        }
    }

    pub(crate) fn cart_cache(&self) -> cart::Cache {
        match self.engines.redis() {
            Some(address) => cart::Cache::Redis {
                endpoint: self.engines.redis_security.endpoint(address),
                prefix: self.engines.namespace().to_owned(),
            },
            None => cart::Cache::Memory,
        }
    }

    /// Whether these services store anything in the data directory.
    pub(crate) fn uses_data_dir(&self, services: &[ServiceName]) -> bool {
        services.iter().any(|service| {
            let is_embedded = match service.definition().store {
                Store::None => false,
                Store::Carts => self.engines.mongo().is_none(),
                Store::Relational { .. } => matches!(self.engines.postgres(*service), Ok(None)),
            };
            is_embedded || (service.uses_events() && self.engines.kafka().is_none())
        })
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.data_dir.join(format!("{name}.db"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engines(tweak: impl FnOnce(&mut Engines)) -> Engines {
        let mut engines = Settings::defaults().engines;
        tweak(&mut engines);
        engines
    }

    #[test]
    fn a_service_has_its_own_database_or_the_shared_one() {
        let engines = engines(|engines| {
            engines.database_url = Some("postgres://u@shared/shop".to_owned());
            let own = "postgres://u@own:5433/orders".to_owned();
            engines.databases.set(ServiceName::Orders, own);
        });
        let of = |service| engines.postgres(service).unwrap().unwrap().to_string();
        assert_eq!(of(ServiceName::Orders), "own:5433/orders");
        assert_eq!(of(ServiceName::Checkout), "shared:5432/shop");
    }

    #[test]
    fn a_database_is_found_by_its_parts() {
        let engines = engines(|engines| {
            engines.database_url = Some(String::new());
            engines.db_host = Some("db".to_owned());
        });
        let address = engines.postgres(ServiceName::Product).unwrap().unwrap();
        assert_eq!(address.to_string(), "db:5432/cartwright");
    }

    #[test]
    fn a_contradictory_or_invalid_setting_is_refused_with_its_variable() {
        let wrong = |tweak: fn(&mut Engines)| engines(tweak).check().unwrap_err().variable;
        assert_eq!(
            wrong(|engines| {
                engines.database_url = Some("postgres://u@h/d".to_owned());
                engines.db_host = Some("h".to_owned());
            }),
            "DB_HOST"
        );
        assert_eq!(
            wrong(|engines| engines.redis_addr = Some("redis".to_owned())),
            "REDIS_ADDR"
        );
        assert_eq!(
            wrong(|engines| engines.kafka_addr = Some("a:1,b".to_owned())),
            "KAFKA_ADDR"
        );
        assert_eq!(wrong(|engines| engines.namespace = Some("a b".to_owned())), "NAMESPACE");
        let orders = |engines: &mut Engines| engines.databases.set(ServiceName::Orders, "orders".to_owned());
        assert_eq!(wrong(orders), "ORDERS_DATABASE_URL");
        assert_eq!(engines(|_| {}).check(), Ok(()));
    }
}
