//! Where payments and the provider's books are kept, on every engine.

use std::sync::Arc;

use async_trait::async_trait;
use payment::{
    ports::PaymentStore,
    provider::simulated::{Ledger, PostgresLedger, SqliteLedger},
    store::{PostgresPaymentStore, SqlitePaymentStore},
};
use runtime::Points;
use testing::{Fixture, PostgresFixture, SqliteFixture};

use crate::books::Books;

/// Payments, and the provider's books, at one place.
#[async_trait]
pub(crate) trait Stores: Send + Sync {
    /// The payments, as a process that starts now opens them.
    async fn store(&self) -> Arc<dyn PaymentStore>;
    /// The provider's ledger, in the same way.
    async fn ledger(&self) -> Arc<dyn Ledger>;
    async fn books(&self) -> Books;
}

#[async_trait]
impl Stores for SqliteFixture {
    async fn store(&self) -> Arc<dyn PaymentStore> {
        let store = SqlitePaymentStore::open(&self.file("payment.db"), &Points::none()).await;
        Arc::new(store.unwrap())
    }

    async fn ledger(&self) -> Arc<dyn Ledger> {
        let ledger = SqliteLedger::open(&self.file("provider.db"), &Points::none()).await;
        Arc::new(ledger.unwrap())
    }

    async fn books(&self) -> Books {
        Books::of_file(&self.file("provider.db")).await
    }
}

/// The schemas of the two.
#[derive(Clone)]
pub(crate) struct PostgresFixtures {
    pub(crate) payment: PostgresFixture,
    pub(crate) provider: PostgresFixture,
}

impl Fixture for PostgresFixtures {
    fn new() -> Option<Self> {
        let (payment, provider) = (Fixture::new()?, Fixture::new()?);
        Some(Self { payment, provider })
    }
}

#[async_trait]
impl Stores for PostgresFixtures {
    async fn store(&self) -> Arc<dyn PaymentStore> {
        let PostgresFixture { schema, .. } = &self.payment;
        let store = PostgresPaymentStore::open(&self.payment.address(), schema, &Points::none()).await;
        Arc::new(store.unwrap())
    }

    async fn ledger(&self) -> Arc<dyn Ledger> {
        let PostgresFixture { schema, .. } = &self.provider;
        let ledger = PostgresLedger::open(&self.provider.address(), schema, &Points::none()).await;
        Arc::new(ledger.unwrap())
    }

    async fn books(&self) -> Books {
        Books::of_schema(&self.provider.url, &self.provider.schema)
    }
}
