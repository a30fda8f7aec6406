//! A shop's places in the real engines: a database in PostgreSQL, one in MongoDB, a namespace in Kafka and Redis.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use cartwright::settings::Engines;
use events::{EventBus, KafkaBus, KafkaOptions};
use mongodb::bson::{Document, doc};
use proto::events::{CHECKOUTS, TOPICS};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier},
    client::DefaultClientContext,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::KafkaError,
    types::RDKafkaErrorCode,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::engine_set::Addresses;

/// How long Kafka may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// The places of one shop.
pub(super) struct Places {
    /// The name of its databases, and its namespace.
    name: String,
    /// Its database is that from which tests create others.
    addresses: Addresses,
    database_url: String,
}

impl Places {
    /// New ones; the database is a copy of `template`, if one is named.
    pub(super) async fn make(addresses: Addresses, template: Option<&str>) -> Result<Self> {
        let name = testing::unique_name();
        let root_url = &addresses.database_url;
        let (server, _) = root_url.rsplit_once('/').context("DATABASE_URL names no database")?;
        let database_url = format!("{server}/{name}");
        let from = template
            .map(|template| format!(" TEMPLATE {template}"))
            .unwrap_or_default();
        on_server(root_url, format!("CREATE DATABASE {name}{from}")).await?;
        Ok(Self {
            name,
            addresses,
            database_url,
        })
    }

    pub(super) fn database_url(&self) -> &str {
        &self.database_url
    }

    pub(super) fn furnish(&self, engines: &mut Engines) {
        engines.database_url = Some(self.database_url.clone());
        engines.mongo_uri = Some(self.addresses.mongo_uri.clone());
        engines.mongo_db_name.clone_from(&self.name);
        engines.redis_addr = Some(self.addresses.redis_addr.clone());
        engines.kafka_brokers = Some(self.addresses.kafka_brokers.clone());
        engines.namespace = Some(self.name.clone());
        engines.instance = Some("the one".to_owned());
    }

    pub(super) fn variables(&self) -> [(&'static str, &str); 7] {
        [
            ("DATABASE_URL", &self.database_url),
            ("MONGO_URI", &self.addresses.mongo_uri),
            ("MONGO_DB_NAME", &self.name),
            ("REDIS_ADDR", &self.addresses.redis_addr),
            ("KAFKA_BROKERS", &self.addresses.kafka_brokers),
            ("NAMESPACE", &self.name),
            ("INSTANCE", "the one"),
        ]
    }

    pub(super) async fn copy(&self) -> Result<Self> {
        let copy = Self::make(self.addresses.clone(), Some(&self.name)).await?;
        let carts = self.carts().await?;
        if !carts.is_empty() {
            copy.cart_collection().await?.insert_many(carts).await?;
        }
        let (from, to) = (self.bus().await?, copy.bus().await?);
        to.ensure_topic(CHECKOUTS.name, CHECKOUTS.partitions).await?;
        let messages: Vec<_> = from
            .read_all(CHECKOUTS.name)
            .await?
            .into_iter()
            .map(|delivery| delivery.message)
            .collect();
        to.publish(CHECKOUTS.name, messages).await?;
        for &group in CHECKOUTS.groups {
            copy.set_offsets(group, self.offsets(group).await?).await?;
        }
        Ok(copy)
    }

    /// The bus as the shop sees it.
    pub(super) async fn bus(&self) -> Result<KafkaBus> {
        let options = KafkaOptions {
            prefix: self.name.clone(),
            ..KafkaOptions::at(&self.addresses.kafka_brokers)
        };
        Ok(KafkaBus::open(options).await?)
    }

    pub(super) async fn compress_events(&self, codec: &str) -> Result<()> {
        let topic = format!("{}{}", self.name, CHECKOUTS.name);
        let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
            .set("bootstrap.servers", &self.addresses.kafka_brokers)
            .create()?;
        let config = AlterConfig::new(ResourceSpecifier::Topic(&topic))
            .set("compression.type", codec)
            .set("retention.ms", "-1");
        for altered in admin.alter_configs([&config], &AdminOptions::new()).await? {
            altered.map_err(|(_, error)| error)?;
        }
        Ok(())
    }

    async fn cart_collection(&self) -> Result<mongodb::Collection<Document>> {
        let client = mongodb::Client::with_uri_str(&self.addresses.mongo_uri).await?;
        Ok(client.database(&self.name).collection("carts"))
    }

    /// All documents of carts.
    pub(super) async fn carts(&self) -> Result<Vec<Document>> {
        use futures::TryStreamExt;
        let carts = self.cart_collection().await?.find(doc! {}).await?;
        Ok(carts.try_collect().await?)
    }

    /// Gives a field of a cart another name, if it is there.
    pub(super) async fn rename_in_cart(&self, user: &str, from: &str, to: &str) -> Result<()> {
        let (carts, filter) = (self.cart_collection().await?, doc! { "_id": user });
        let Some(mut cart) = carts.find_one(filter.clone()).await? else {
            return Ok(());
        };
        if let Some(value) = cart.remove(from) {
            cart.insert(to, value);
            carts.replace_one(filter, cart).await?;
        }
        Ok(())
    }

    async fn redis(&self) -> Result<redis::aio::MultiplexedConnection> {
        let client = redis::Client::open(format!("redis://{}", self.addresses.redis_addr))?;
        Ok(client.get_multiplexed_async_connection().await?)
    }

    /// The versions of the carts that are in the cache, by customer. A gap is no cart.
    pub(super) async fn cached_carts(&self) -> Result<Vec<(String, i64)>> {
        let mut redis = self.redis().await?;
        let prefix = format!("{}cart:", self.name);
        let keys: Vec<String> = redis::cmd("KEYS")
            .arg(format!("{prefix}*"))
            .query_async(&mut redis)
            .await?;
        let mut carts = Vec::new();
        for key in keys {
            let entry: Option<String> = redis::cmd("GET").arg(&key).query_async(&mut redis).await?;
            let Some(entry) = entry else { continue };
            let entry: serde_json::Value = serde_json::from_str(&entry).context(key.clone())?;
            if let Some(version) = entry["version"].as_i64() {
                carts.push((key.trim_start_matches(&prefix).to_owned(), version));
            }
        }
        Ok(carts)
    }

    /// The keys of this shop in Redis in which a text stands.
    pub(super) async fn cache_keys_with(&self, text: &str) -> Result<Vec<String>> {
        let mut redis = self.redis().await?;
        let pattern = format!("{}*{text}*", self.name);
        Ok(redis::cmd("KEYS").arg(pattern).query_async(&mut redis).await?)
    }

    /// Forgets everything in Redis.
    pub(super) async fn empty_cache(&self) -> Result<()> {
        let mut redis = self.redis().await?;
        Ok(redis::cmd("FLUSHALL").query_async(&mut redis).await?)
    }

    /// The next offset of a group in each partition; 0 where it has none yet.
    pub(super) async fn offsets(&self, group: &str) -> Result<Vec<i64>> {
        let (consumer, places) = (self.member(group)?, self.partitions());
        let found = tokio::task::spawn_blocking(move || consumer.committed_offsets(places, PATIENCE)).await??;
        let next = |element: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
            let Offset::Offset(next) = element.offset() else {
                return 0;
            };
            next
        };
        Ok(found.elements().into_iter().map(next).collect())
    }

    async fn set_offsets(&self, group: &str, offsets: Vec<i64>) -> Result<()> {
        let consumer = self.member(group)?;
        let mut places = TopicPartitionList::new();
        for (partition, offset) in (0..).zip(offsets) {
            places.add_partition_offset(&self.topic(), partition, Offset::Offset(offset))?;
        }
        // A member that has stopped leaves its group a moment later; until then the group takes no offsets of others.
        let began = Instant::now();
        let commit = move || {
            loop {
                match consumer.commit(&places, CommitMode::Sync) {
                    Err(error) if is_of_members(&error) && began.elapsed() < PATIENCE => thread::sleep(POLL),
                    done => return done,
                }
            }
        };
        tokio::task::spawn_blocking(commit).await??;
        Ok(())
    }

    pub(super) async fn rewind(&self) -> Result<()> {
        for &group in CHECKOUTS.groups {
            let start = vec![0; self.partitions().count()];
            self.set_offsets(group, start).await?;
            ensure!(
                self.offsets(group).await?.iter().all(|next| *next == 0),
                "{group} was not rewound"
            );
        }
        Ok(())
    }

    /// Somebody who can read and write a group's offsets, and does not join it.
    fn member(&self, group: &str) -> Result<BaseConsumer> {
        Ok(self
            .client()
            .set("group.id", format!("{}{group}", self.name))
            .create()?)
    }

    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.addresses.kafka_brokers);
        client
    }

    fn topic(&self) -> String {
        format!("{}{}", self.name, CHECKOUTS.name)
    }

    fn partitions(&self) -> TopicPartitionList {
        let mut places = TopicPartitionList::new();
        let last = i32::try_from(CHECKOUTS.partitions).unwrap_or(1) - 1;
        places.add_partition_range(&self.topic(), 0, last);
        places
    }

    pub(super) async fn clear(self) -> Result<()> {
        testing::postgres::drop_database(&self.addresses.database_url, &self.name).await?;
        let client = mongodb::Client::with_uri_str(&self.addresses.mongo_uri).await?;
        client.database(&self.name).drop().await?;
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let names = TOPICS.iter().flat_map(|topic| {
            let letters = topic
                .groups
                .iter()
                .map(|group| events::dead_letter_topic(topic.name, group));
            letters.chain([topic.name.to_owned()])
        });
        let topics: Vec<_> = names.map(|name| format!("{}{name}", self.name)).collect();
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        // One that was never made cannot be deleted, and need not.
        let _ = admin
            .delete_topics(&topics, &AdminOptions::new().operation_timeout(Some(PATIENCE)))
            .await?;
        Ok(())
    }
}

/// Runs a statement that is not for one database.
async fn on_server(url: &str, sql: String) -> Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::query(AssertSqlSafe(sql.clone()))
        .execute(&mut connection)
        .await
        .context(sql)?;
    connection.close().await?;
    Ok(())
}

/// Whether a group has members, so that only these may write its offsets.
fn is_of_members(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownMemberId)
}
