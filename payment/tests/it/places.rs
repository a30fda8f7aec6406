//! Where payments and the provider's books are kept: one place for each technology that can keep them.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use payment::{
    ports::PaymentStore,
    provider::simulated::{Ledger, PostgresLedger, SqliteLedger},
    store::{PostgresPaymentStore, SqlitePaymentStore},
};
use runtime::Points;
use storage::PostgresAddress;
use tempfile::TempDir;
use testing::Engine;

use crate::books::Books;

/// A place of its own for each test.
#[async_trait]
pub(crate) trait Place: Send + Sync {
    /// `None` when its engine is not there, which was said.
    async fn new() -> Option<Self>
    where
        Self: Sized;
    /// The payments, as a process that starts now opens them.
    async fn store(&self) -> Arc<dyn PaymentStore>;
    /// The provider's ledger, in the same way.
    async fn ledger(&self) -> Arc<dyn Ledger>;
    async fn books(&self) -> Books;
}

/// Files in a folder.
pub(crate) struct Files(TempDir);

impl Files {
    fn provider(&self) -> PathBuf {
        self.0.path().join("provider.db")
    }
}

#[async_trait]
impl Place for Files {
    async fn new() -> Option<Self> {
        Some(Self(tempfile::tempdir().unwrap()))
    }

    async fn store(&self) -> Arc<dyn PaymentStore> {
        let path = self.0.path().join("payment.db");
        Arc::new(SqlitePaymentStore::open(&path, &Points::none()).await.unwrap())
    }

    async fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::new(SqliteLedger::open(&self.provider(), &Points::none()).await.unwrap())
    }

    async fn books(&self) -> Books {
        Books::of_file(&self.provider()).await
    }
}

/// Two schemas in a database.
pub(crate) struct Schemas {
    pub(crate) url: String,
    pub(crate) payment: String,
    pub(crate) provider: String,
}

impl Schemas {
    fn address(&self) -> PostgresAddress {
        PostgresAddress::from_url(Engine::PostgreSql.variable(), &self.url).unwrap()
    }
}

#[async_trait]
impl Place for Schemas {
    async fn new() -> Option<Self> {
        Some(Self {
            url: Engine::PostgreSql.address()?,
            payment: testing::unique_name(),
            provider: testing::unique_name(),
        })
    }

    async fn store(&self) -> Arc<dyn PaymentStore> {
        let store = PostgresPaymentStore::open(&self.address(), &self.payment, &Points::none()).await;
        Arc::new(store.unwrap())
    }

    async fn ledger(&self) -> Arc<dyn Ledger> {
        let ledger = PostgresLedger::open(&self.address(), &self.provider, &Points::none()).await;
        Arc::new(ledger.unwrap())
    }

    async fn books(&self) -> Books {
        Books::of_schema(&self.url, &self.provider)
    }
}

/// Makes a test of each case at each place. The places are listed here once, and the cases of a suite once, so that none
/// can be skipped.
macro_rules! at_every_place {
    ($($case:ident)+) => {
        at_every_place!(@ sqlite Files: $($case)+);
        at_every_place!(@ postgres Schemas: $($case)+);
    };
    (@ $name:ident $place:ident: $($case:ident)+) => {
        mod $name {
            use $crate::places::{Place, $place};

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                if let Some(place) = $place::new().await {
                    let place: std::sync::Arc<dyn Place> = std::sync::Arc::new(place);
                    super::$case(&place).await;
                }
            })+
        }
    };
}
pub(crate) use at_every_place;
