//! The payment store and the provider's ledger on every engine.

use std::sync::Arc;

use async_trait::async_trait;
use payment::{
    ports::PaymentStore,
    provider::simulated::{PostgresProviderLedger, ProviderLedger, SqliteProviderLedger},
    store::{PostgresPaymentStore, SqlitePaymentStore},
};
use runtime::Points;
use testing::{Fixture, PostgresFixture, SqliteFixture};

use crate::ledger_audit::LedgerAudit;

/// The databases of payments and of the provider's ledger. Each call opens them anew, as another process would.
#[async_trait]
pub(crate) trait StoreFixture: Send + Sync {
    async fn store(&self) -> Arc<dyn PaymentStore>;
    async fn ledger(&self) -> Arc<dyn ProviderLedger>;
    async fn audit(&self) -> LedgerAudit;
}

#[async_trait]
impl StoreFixture for SqliteFixture {
    async fn store(&self) -> Arc<dyn PaymentStore> {
        let store = SqlitePaymentStore::open(&self.file("payment.db"), &Points::none()).await;
        Arc::new(store.unwrap())
    }

    async fn ledger(&self) -> Arc<dyn ProviderLedger> {
        let ledger = SqliteProviderLedger::open(&self.file("provider.db"), &Points::none()).await;
        Arc::new(ledger.unwrap())
    }

    async fn audit(&self) -> LedgerAudit {
        LedgerAudit::of_file(&self.file("provider.db")).await
    }
}

/// The schemas of payments and of the ledger.
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
impl StoreFixture for PostgresFixtures {
    async fn store(&self) -> Arc<dyn PaymentStore> {
        let PostgresFixture { schema, .. } = &self.payment;
        let store = PostgresPaymentStore::open(&self.payment.address(), schema, &Points::none()).await;
        Arc::new(store.unwrap())
    }

    async fn ledger(&self) -> Arc<dyn ProviderLedger> {
        let PostgresFixture { schema, .. } = &self.provider;
        let ledger = PostgresProviderLedger::open(&self.provider.address(), schema, &Points::none()).await;
        Arc::new(ledger.unwrap())
    }

    async fn audit(&self) -> LedgerAudit {
        LedgerAudit::of_schema(&self.provider.url, &self.provider.schema)
    }
}
