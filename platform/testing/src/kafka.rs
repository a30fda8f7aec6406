//! Topics of a test's own in Kafka.

use std::{thread, time::Duration};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    metadata::MetadataTopic,
};

use crate::{Engine, Fixture, unique_name};

const PATIENCE: Duration = Duration::from_secs(10);

/// All topics and groups that begin with a prefix. The topics are deleted in the end.
#[derive(Debug)]
pub struct KafkaFixture {
    pub brokers: String,
    pub prefix: String,
}

impl Fixture for KafkaFixture {
    fn new() -> Option<Self> {
        Some(Self {
            brokers: Engine::Kafka.address()?,
            prefix: format!("{}.", unique_name()),
        })
    }
}

impl KafkaFixture {
    /// How any other program reaches the broker.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }

    /// Deletes all topics of this fixture.
    pub async fn delete_topics(&self) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let metadata = admin.inner().fetch_metadata(None, PATIENCE).unwrap();
        let topics = metadata.topics().iter().map(MetadataTopic::name);
        let ours: Vec<&str> = topics.filter(|topic| topic.starts_with(&self.prefix)).collect();
        if !ours.is_empty() {
            let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
            for deleted in admin.delete_topics(&ours, &options).await.unwrap() {
                deleted.unwrap();
            }
        }
    }
}

impl Drop for KafkaFixture {
    fn drop(&mut self) {
        // A test that failed has said why.
        if !thread::panicking() {
            // The thread of the test is inside its runtime.
            thread::scope(|scope| {
                scope.spawn(|| tokio::runtime::Runtime::new().unwrap().block_on(self.delete_topics()));
            });
        }
    }
}
