//! Isolated topics and groups in Kafka.

use std::{thread, time::Duration};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    metadata::MetadataTopic,
};

use crate::{Engine, Fixture, unique_name};

const TIMEOUT: Duration = Duration::from_secs(10);

/// All topics and groups with a unique prefix. The topics are deleted on drop.
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
    /// The configuration of a client beside the adapter.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }

    /// Deletes all topics of this fixture.
    pub async fn delete_topics(&self) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let metadata = admin.inner().fetch_metadata(None, TIMEOUT).unwrap();
        let topics = metadata.topics().iter().map(MetadataTopic::name);
        let ours: Vec<&str> = topics.filter(|topic| topic.starts_with(&self.prefix)).collect();
        if !ours.is_empty() {
            let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
            for deleted in admin.delete_topics(&ours, &options).await.unwrap() {
                deleted.unwrap();
            }
        }
    }
}

impl Drop for KafkaFixture {
    fn drop(&mut self) {
        // Skipped after a failure: a second panic would abort the process and hide the first one.
        if !thread::panicking() {
            // On another thread, because this one is inside the test's runtime and cannot block on a second one.
            thread::scope(|scope| {
                scope.spawn(|| tokio::runtime::Runtime::new().unwrap().block_on(self.delete_topics()));
            });
        }
    }
}
