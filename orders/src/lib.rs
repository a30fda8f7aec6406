//! Orders, one per completed checkout, created from its event.

pub mod commits;
mod config;
pub mod domain;
mod events;
mod grpc;
pub mod ports;
pub mod store;

use std::sync::Arc;

use ::events::{Consumer, EventBus, Inbox, InboxPruner, ServiceEvents};
use proto::events::{CHECKOUTS, ORDERS_GROUP, TOPICS};
use proto::orders::v1::orders_service_server::OrdersServiceServer;
use runtime::{Probe, Runtime, Service};
use storage::OpenError;

pub use crate::{
    config::{Config, Store},
    events::OrderRecorder,
};

use crate::{
    ports::OrderStore,
    store::{PostgresOrderStore, SqliteOrderStore},
};

/// Opens the store and builds the service: its gRPC interface, and its consumer as a background task.
pub async fn build(config: Config, bus: Arc<dyn EventBus>, runtime: &Runtime) -> Result<Service, OpenError> {
    let (store, inbox, probe): (Arc<dyn OrderStore>, Arc<dyn Inbox>, _) = match &config.store {
        Store::Sqlite(path) => {
            let store = SqliteOrderStore::open(path, &runtime.points).await?;
            let inbox = Arc::new(store.inbox());
            (Arc::new(store), inbox, "orders-store")
        }
        Store::Postgres(address) => {
            let store = PostgresOrderStore::open(address, "orders", &runtime.points).await?;
            let inbox = Arc::new(store.inbox());
            (Arc::new(store), inbox, "orders-postgresql")
        }
    };
    let handler = Arc::new(OrderRecorder::new(store.clone(), runtime.clock.clone()));
    let pruner = InboxPruner {
        inbox,
        bus: bus.clone(),
        group: ORDERS_GROUP,
        topics: TOPICS,
        clock: runtime.clock.clone(),
    };
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
        .prune_inbox(pruner)
        .waits_for(transactions)
        .probe(probe))
}
