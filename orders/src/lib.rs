//! Orders: what customers bought, one for each purchase, created from the events of finished checkouts.

mod app;
pub mod commits;
mod config;
pub mod domain;
mod events;
mod grpc;
pub mod ports;
pub mod store;

use std::sync::Arc;

use ::events::{Consumer, EventBus, ServiceEvents};
use proto::events::{CHECKOUTS, ORDERS_GROUP};
use proto::orders::v1::orders_service_server::OrdersServiceServer;
use runtime::{Probe, Runtime, Service};
use storage::OpenError;

pub use crate::{
    config::{Config, Store},
    events::OrderPlacer,
};

use crate::{
    ports::OrderStore,
    store::{PostgresOrderStore, SqliteOrderStore},
};

/// Opens the store and puts the service together: its interface, and its consumer as a background task.
pub async fn build(config: Config, bus: Arc<dyn EventBus>, runtime: &Runtime) -> Result<Service, OpenError> {
    let (store, probe): (Arc<dyn OrderStore>, _) = match &config.store {
        Store::Sqlite(path) => {
            let store = SqliteOrderStore::open(path, &runtime.points).await?;
            (Arc::new(store), "orders-store")
        }
        Store::Postgres(address) => {
            let store = PostgresOrderStore::open(address, "orders", &runtime.points).await?;
            (Arc::new(store), "orders-postgresql")
        }
    };
    let handler = Arc::new(OrderPlacer::new(store.clone(), runtime.clock.clone()));
    let grpc = OrdersServiceServer::new(grpc::Grpc::new(store.clone()))
        .max_decoding_message_size(runtime::serve::MAX_MESSAGE_IN)
        .max_encoding_message_size(runtime::serve::MAX_MESSAGE_OUT);
    let transactions = store.transactions();
    let probe = Probe::new(probe, move || {
        let store = store.clone();
        async move { store.is_up().await }
    });
    Ok(Service::new("orders", grpc, runtime.tasks.clone())
        .consume(Consumer::new(bus, CHECKOUTS, ORDERS_GROUP, handler, runtime))
        .waits_for(transactions)
        .probe(probe))
}
