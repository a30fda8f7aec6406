//! A shop's data in the real engines: a database in PostgreSQL, one in MongoDB, a prefix in Kafka and Redis.

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
use runtime::Topic;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::engine_set::Addresses;

/// How long Kafka may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The databases and the prefix of one shop.
pub(super) struct Namespace {
    /// The name of the databases and of the namespace.
    name: String,
    /// `database_url` in it is the database from which tests create others.
    addresses: Addresses,
    database_url: String,
}

impl Namespace {
    /// Creates the PostgreSQL database, as a copy of `template` if given.
    pub(super) async fn create(addresses: Addresses, template: Option<&str>) -> Result<Self> {
        let name = testing::unique_name();
        let root_url = &addresses.database_url;
        let (server, _) = root_url.rsplit_once('/').context("DATABASE_URL names no database")?;
        let database_url = format!("{server}/{name}");
        let from = template
            .map(|template| format!(" TEMPLATE {template}"))
            .unwrap_or_default();
        run_on_server(root_url, format!("CREATE DATABASE {name}{from}")).await?;
        Ok(Self {
            name,
            addresses,
            database_url,
        })
    }

    pub(super) fn database_url(&self) -> &str {
        &self.database_url
    }

    pub(super) fn configure(&self, engines: &mut Engines) {
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
        let copy = Self::create(self.addresses.clone(), Some(&self.name)).await?;
        let carts = self.carts().await?;
        if !carts.is_empty() {
            copy.cart_collection().await?.insert_many(carts).await?;
        }
        let (from, to) = (self.bus().await?, copy.bus().await?);
        for topic in TOPICS {
            to.ensure_topic(topic.name, topic.partitions).await?;
            let deliveries = from.read_all(topic.name).await?.into_iter();
            let messages: Vec<_> = deliveries.map(|delivery| delivery.message).collect();
            to.publish(topic.name, messages).await?;
            for &group in topic.groups {
                copy.set_offsets(topic, group, self.offsets(topic, group).await?)
                    .await?;
            }
        }
        Ok(copy)
    }

    pub(super) async fn bus(&self) -> Result<KafkaBus> {
        let options = KafkaOptions {
            prefix: self.name.clone(),
            ..KafkaOptions::at(&self.addresses.kafka_brokers)
        };
        Ok(KafkaBus::open(options).await?)
    }

    pub(super) async fn compress_events(&self, codec: &str) -> Result<()> {
        let topic = self.topic(&CHECKOUTS);
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
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

    pub(super) async fn carts(&self) -> Result<Vec<Document>> {
        use futures::TryStreamExt;
        let carts = self.cart_collection().await?.find(doc! {}).await?;
        Ok(carts.try_collect().await?)
    }

    /// Renames a field of a cart, if the cart has it.
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

    /// The versions of the carts in the cache, by customer. Entries without a version are not carts.
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

    /// The keys of this shop in Redis that contain a text.
    pub(super) async fn cache_keys_with(&self, text: &str) -> Result<Vec<String>> {
        let mut redis = self.redis().await?;
        let pattern = format!("{}*{text}*", self.name);
        Ok(redis::cmd("KEYS").arg(pattern).query_async(&mut redis).await?)
    }

    /// Empties Redis.
    pub(super) async fn empty_cache(&self) -> Result<()> {
        let mut redis = self.redis().await?;
        Ok(redis::cmd("FLUSHALL").query_async(&mut redis).await?)
    }

    /// The next offset of a group in each partition of a topic; 0 where nothing is committed.
    pub(super) async fn offsets(&self, topic: &Topic, group: &str) -> Result<Vec<i64>> {
        let (consumer, partitions) = (self.offset_client(group)?, self.partitions(topic));
        let found = tokio::task::spawn_blocking(move || consumer.committed_offsets(partitions, TIMEOUT)).await??;
        let next = |element: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
            let Offset::Offset(next) = element.offset() else {
                return 0;
            };
            next
        };
        Ok(found.elements().into_iter().map(next).collect())
    }

    async fn set_offsets(&self, topic: &Topic, group: &str, offsets: Vec<i64>) -> Result<()> {
        let consumer = self.offset_client(group)?;
        let mut partitions = TopicPartitionList::new();
        for (partition, offset) in (0..).zip(offsets) {
            partitions.add_partition_offset(&self.topic(topic), partition, Offset::Offset(offset))?;
        }
        // A stopped member leaves its group with a delay. Until then the group refuses offsets from non-members.
        let began = Instant::now();
        let commit = move || {
            loop {
                match consumer.commit(&partitions, CommitMode::Sync) {
                    Err(error) if has_members(&error) && began.elapsed() < TIMEOUT => thread::sleep(POLL_INTERVAL),
                    done => return done,
                }
            }
        };
        tokio::task::spawn_blocking(commit).await??;
        Ok(())
    }

    pub(super) async fn rewind(&self) -> Result<()> {
        for topic in TOPICS {
            for &group in topic.groups {
                let start = vec![0; self.partitions(topic).count()];
                self.set_offsets(topic, group, start).await?;
                ensure!(
                    self.offsets(topic, group).await?.iter().all(|next| *next == 0),
                    "{group} was not rewound"
                );
            }
        }
        Ok(())
    }

    /// A consumer that reads and writes the offsets of a group without joining it.
    fn offset_client(&self, group: &str) -> Result<BaseConsumer> {
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

    fn topic(&self, topic: &Topic) -> String {
        format!("{}{}", self.name, topic.name)
    }

    fn partitions(&self, topic: &Topic) -> TopicPartitionList {
        let mut partitions = TopicPartitionList::new();
        let last = i32::try_from(topic.partitions).unwrap_or(1) - 1;
        partitions.add_partition_range(&self.topic(topic), 0, last);
        partitions
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
        // Ignores the result per topic: a topic that was never created cannot be deleted.
        let _ = admin
            .delete_topics(&topics, &AdminOptions::new().operation_timeout(Some(TIMEOUT)))
            .await?;
        Ok(())
    }
}

/// Runs a statement on the server as a whole, such as `CREATE DATABASE`.
async fn run_on_server(url: &str, sql: String) -> Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::query(AssertSqlSafe(sql.clone()))
        .execute(&mut connection)
        .await
        .context(sql)?;
    connection.close().await?;
    Ok(())
}

/// Whether the group has members, and so refuses offsets from others.
fn has_members(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownMemberId)
}
