//! Charges and refunds through a payment provider. A payment's key is its checkout's id, here and at the provider.
//!
//! The intent is on disk before the provider is called, and the provider's answer afterwards. An answer that is lost in
//! between is recovered by calling the provider again under the same key.

pub mod app;
pub mod commits;
mod config;
pub mod domain;
mod grpc;
pub mod ports;
pub mod provider;
pub mod store;

use std::{sync::Arc, time::Duration};

use proto::payment::v1::payment_service_server::PaymentServiceServer;
use runtime::{Probe, Runtime, Service, Tasks};
use storage::OpenError;

pub use config::{Config, Provider, Simulation, Store, SuccessRate};

use app::Payments;
use ports::{PaymentProvider, PaymentStore};
use provider::simulated::{Behaviour, PostgresProviderLedger, ProviderLedger, SimulatedProvider, SqliteProviderLedger};
use store::{PostgresPaymentStore, SqlitePaymentStore};

/// The service, with its stores open and their schemas up to date.
pub async fn build(config: Config, runtime: &Runtime) -> Result<Service, OpenError> {
    let (store, probe): (Arc<dyn PaymentStore>, _) = match &config.store {
        Store::Sqlite(path) => {
            let store = SqlitePaymentStore::open(path, &runtime.points).await?;
            (Arc::new(store), "payment-store")
        }
        Store::Postgres(address) => {
            let store = PostgresPaymentStore::open(address, "payment", &runtime.points).await?;
            (Arc::new(store), "payment-postgresql")
        }
    };
    let (provider, provider_transactions) = match &config.provider {
        Provider::Simulated(simulation) => simulated(simulation, config.provider_timeout, runtime).await?,
    };
    let payments = Payments::new(store.clone(), provider, config.provider_timeout, runtime);
    let grpc = PaymentServiceServer::new(grpc::Grpc::new(payments))
        .max_decoding_message_size(runtime::serve::MAX_MESSAGE_IN)
        .max_encoding_message_size(runtime::serve::MAX_MESSAGE_OUT);
    let transactions = store.transactions();
    // The provider is not probed: while an outside company is down, the shop can still be browsed and queried.
    let probe = Probe::new(probe, move || {
        let store = store.clone();
        async move { store.is_up().await }
    });
    Ok(Service::new("payment", grpc, runtime.tasks.clone())
        .waits_for(transactions)
        .waits_for(provider_transactions)
        .probe(probe))
}

async fn simulated(
    provider: &Simulation,
    timeout: Duration,
    runtime: &Runtime,
) -> Result<(Arc<dyn PaymentProvider>, Tasks), OpenError> {
    let ledger: Arc<dyn ProviderLedger> = match &provider.ledger {
        Store::Sqlite(path) => Arc::new(SqliteProviderLedger::open(path, &runtime.points).await?),
        // Separate connections and a separate schema: the ledger stands for an outside company's database.
        Store::Postgres(address) => Arc::new(PostgresProviderLedger::open(address, "provider", &runtime.points).await?),
    };
    let behaviour = Behaviour {
        success_rate: provider.success_rate,
        min_latency: provider.min_latency,
        max_latency: provider.max_latency,
        slow_reply: timeout.saturating_mul(2),
    };
    let transactions = ledger.transactions();
    Ok((
        Arc::new(SimulatedProvider::new(ledger, behaviour, runtime)),
        transactions,
    ))
}
