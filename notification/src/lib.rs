//! Tells customers what became of their purchases, once for each event. To tell is to keep a notification that the customer
//! can list.

mod app;
pub mod commits;
mod config;
pub mod domain;
mod events;
mod grpc;
pub mod ports;
pub mod store;

use std::sync::Arc;

use ::events::{Consumer, EventBus, Inbox, InboxKeeper, ServiceEvents};
use proto::events::{CHECKOUTS, NOTIFICATION_GROUP, TOPICS};
use proto::notification::v1::notification_service_server::NotificationServiceServer;
use runtime::{Probe, Runtime, Service};
use storage::OpenError;

pub use crate::{
    config::{Config, Store},
    events::Teller,
};

use crate::{
    ports::NotificationStore,
    store::{PostgresNotificationStore, SqliteNotificationStore},
};

/// Opens the store and puts the service together: its interface, and its consumer as a background task.
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
    let handler = Arc::new(Teller::new(store.clone(), runtime.clock.clone()));
    let keeper = InboxKeeper {
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
        .keep_inbox(keeper)
        .waits_for(transactions)
        .probe(probe))
}
