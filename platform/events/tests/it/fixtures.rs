//! Where the event bus of a test is: a fixture for each adapter.

use std::{sync::Arc, thread, time::Duration};

use async_trait::async_trait;
use events::{EventBus, KafkaBus, KafkaOptions, Signatures, SqliteBus};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    metadata::MetadataTopic,
};
use runtime::Points;
use testing::Engine;
use tokio::runtime::Runtime;

/// A bus of its own for each case.
#[async_trait]
pub(crate) trait Fixture: Send + Sync {
    /// `None` when its engine is not there, which was said.
    async fn new() -> Option<Self>
    where
        Self: Sized;
    /// The bus, as a process that starts now finds it. There is no topic on it at first.
    async fn open(&self) -> Arc<dyn EventBus> {
        self.open_signed(Signatures::default()).await
    }
    /// The same, whose events are signed.
    async fn open_signed(&self, signatures: Signatures) -> Arc<dyn EventBus>;
}

pub(crate) struct SqliteFixture(tempfile::TempDir);

impl SqliteFixture {
    pub(crate) async fn log(&self) -> SqliteBus {
        let path = self.0.path().join("bus.db");
        SqliteBus::open(&path, &Points::none()).await.unwrap()
    }
}

#[async_trait]
impl Fixture for SqliteFixture {
    async fn new() -> Option<Self> {
        Some(Self(tempfile::tempdir().unwrap()))
    }

    async fn open_signed(&self, signatures: Signatures) -> Arc<dyn EventBus> {
        Arc::new(self.log().await.signed(signatures))
    }
}

/// Topics and groups of its own; the topics are deleted in the end.
pub(crate) struct KafkaFixture {
    pub(crate) brokers: String,
    pub(crate) prefix: String,
}

impl KafkaFixture {
    pub(crate) fn options(&self) -> KafkaOptions {
        KafkaOptions {
            prefix: self.prefix.clone(),
            ..KafkaOptions::at(&self.brokers)
        }
    }

    /// How any other program reaches the broker.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }

    /// Deletes all topics of this fixture.
    pub(crate) async fn delete_topics(&self) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let metadata = admin.inner().fetch_metadata(None, Duration::from_secs(10)).unwrap();
        let topics = metadata.topics().iter().map(MetadataTopic::name);
        let ours: Vec<&str> = topics.filter(|topic| topic.starts_with(&self.prefix)).collect();
        if !ours.is_empty() {
            let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
            for deleted in admin.delete_topics(&ours, &options).await.unwrap() {
                deleted.unwrap();
            }
        }
    }
}

#[async_trait]
impl Fixture for KafkaFixture {
    async fn new() -> Option<Self> {
        Some(Self {
            brokers: Engine::Kafka.address()?,
            prefix: format!("{}.", testing::unique_name()),
        })
    }

    async fn open_signed(&self, signatures: Signatures) -> Arc<dyn EventBus> {
        Arc::new(KafkaBus::open(self.options()).await.unwrap().signed(signatures))
    }
}

impl Drop for KafkaFixture {
    fn drop(&mut self) {
        // A test that failed has said why.
        if !thread::panicking() {
            // The thread of the test is inside its runtime.
            thread::scope(|scope| {
                scope.spawn(|| Runtime::new().unwrap().block_on(self.delete_topics()));
            });
        }
    }
}
