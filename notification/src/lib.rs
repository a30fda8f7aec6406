//! Notifications to customers about the end of their checkouts, one per event. Customers list them; nothing is sent.

pub mod commits;
mod config;
pub mod domain;
mod events;
mod grpc;
pub mod ports;
pub mod store;

use std::sync::Arc;

use ::events::{Consumer, EventBus, Inbox, InboxPruner, ServiceEvents};
use proto::events::{CHECKOUTS, NOTIFICATION_GROUP, TOPICS};
use proto::notification::v1::notification_service_server::NotificationServiceServer;
use runtime::{Probe, Runtime, Service};
use storage::OpenError;

pub use crate::{
    config::{Config, Store},
    events::Notifier,
};

use crate::{
    ports::NotificationStore,
    store::{PostgresNotificationStore, SqliteNotificationStore},
};

/// Opens the store and builds the service: its gRPC interface, and its consumer as a background task.
pub async fn build(config: Config, bus: Arc<dyn EventBus>, runtime: &Runtime) -> Result<Service, OpenError> {
    let (store, inbox, probe): (Arc<dyn NotificationStore>, Arc<dyn Inbox>, _) = match &config.store {
        Store::Sqlite(path) => {
            let store = SqliteNotificationStore::open(path, &runtime.points).await?;
            let inbox = Arc::new(store.inbox());
            (Arc::new(store), inbox, "notification-store")
        }
        Store::Postgres(address) => {
            let store = PostgresNotificationStore::open(address, "notification", &runtime.points).await?;
            let inbox = Arc::new(store.inbox());
            (Arc::new(store), inbox, "notification-postgresql")
        }
    };
    let handler = Arc::new(Notifier::new(store.clone(), runtime.clock.clone()));
    let pruner = InboxPruner {
        inbox,
        bus: bus.clone(),
        group: NOTIFICATION_GROUP,
        topics: TOPICS,
        clock: runtime.clock.clone(),
    };
    let grpc = NotificationServiceServer::new(grpc::Grpc::new(store.clone()))
        .max_decoding_message_size(runtime::serve::MAX_MESSAGE_IN)
        .max_encoding_message_size(runtime::serve::MAX_MESSAGE_OUT);
    let transactions = store.transactions();
    let probe = Probe::new(probe, move || {
        let store = store.clone();
        async move { store.is_up().await }
    });
    Ok(Service::new("notification", grpc, runtime.tasks.clone())
        .consume(Consumer::new(bus, CHECKOUTS, NOTIFICATION_GROUP, handler, runtime))
        .prune_inbox(pruner)
        .waits_for(transactions)
        .probe(probe))
}
