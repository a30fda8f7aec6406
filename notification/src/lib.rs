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

use ::events::{Consumer, EventBus, Topic};
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

const TOPIC: Topic = Topic {
    name: proto::events::CHECKOUT_TOPIC,
    partitions: proto::events::CHECKOUT_PARTITIONS,
};

/// Opens the store and puts the service together: its interface, and its consumer as a background task.
pub async fn build(config: Config, bus: Arc<dyn EventBus>, runtime: &Runtime) -> Result<Service, OpenError> {
    let (store, probe): (Arc<dyn NotificationStore>, _) = match &config.store {
        Store::Sqlite(path) => {
            let store = SqliteNotificationStore::open(path, &runtime.points).await?;
            (Arc::new(store), "notification-store")
        }
        Store::Postgres(address) => {
            let store = PostgresNotificationStore::open(address, "notification", &runtime.points).await?;
            (Arc::new(store), "notification-postgresql")
        }
    };
    let consumer = Consumer {
        group: proto::events::NOTIFICATION_GROUP,
        topic: TOPIC,
        bus,
        handler: Arc::new(Teller::new(store.clone(), runtime.clock.clone())),
        clock: runtime.clock.clone(),
        points: runtime.points.clone(),
    };
    let grpc = NotificationServiceServer::new(grpc::Grpc::new(store.clone()))
        .max_decoding_message_size(runtime::serve::MAX_MESSAGE_IN)
        .max_encoding_message_size(runtime::serve::MAX_MESSAGE_OUT);
    let transactions = store.transactions();
    let probe = Probe::new(probe, move || {
        let store = store.clone();
        async move { store.is_up().await }
    });
    let tasks = runtime.tasks.clone();
    Ok(Service::new("notification", grpc, tasks.clone())
        .background("consumer", move || consumer.clone().run(tasks.clone()))
        .waits_for(transactions)
        .probe(probe))
}
