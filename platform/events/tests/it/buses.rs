//! Opens event buses on each engine.

use std::sync::Arc;

use async_trait::async_trait;
use events::{EventBus, KafkaBus, KafkaOptions, Signatures, SqliteBus};
use runtime::Points;
use testing::{KafkaFixture, SqliteFixture};

/// An isolated bus without topics.
#[async_trait]
pub(crate) trait Buses: Send + Sync {
    /// Opens the bus as another process would.
    async fn open(&self) -> Arc<dyn EventBus> {
        self.open_signed(Signatures::default()).await
    }
    async fn open_signed(&self, signatures: Signatures) -> Arc<dyn EventBus>;
}

pub(crate) async fn sqlite_bus(fixture: &SqliteFixture) -> SqliteBus {
    SqliteBus::open(&fixture.file("bus.db"), &Points::none()).await.unwrap()
}

pub(crate) fn kafka_options(fixture: &KafkaFixture) -> KafkaOptions {
    KafkaOptions {
        prefix: fixture.prefix.clone(),
        ..KafkaOptions::at(&fixture.brokers)
    }
}

#[async_trait]
impl Buses for SqliteFixture {
    async fn open_signed(&self, signatures: Signatures) -> Arc<dyn EventBus> {
        Arc::new(sqlite_bus(self).await.with_signatures(signatures))
    }
}

#[async_trait]
impl Buses for KafkaFixture {
    async fn open_signed(&self, signatures: Signatures) -> Arc<dyn EventBus> {
        let bus = KafkaBus::open(kafka_options(self)).await;
        Arc::new(bus.unwrap().with_signatures(signatures))
    }
}
