//! The inventory: stock, and the reservations of checkouts.

mod app;
pub mod commits;
mod config;
pub mod domain;
mod grpc;
pub mod ports;
pub mod store;

use proto::inventory::v1::inventory_service_server::InventoryServiceServer;
use runtime::{Runtime, Service};
use storage::OpenError;

pub use config::{Config, Store};

/// Opens the store and wires the service, which does not run yet.
pub async fn build(config: Config, runtime: &Runtime) -> Result<Service, OpenError> {
    let (store, probe) = store::open(&config.store, &runtime.points).await?;
    let (stock, ttl, tasks) = (store.clone(), config.reservation_ttl, runtime.tasks.clone());
    let expiry = move || app::expire_reservations(stock.clone(), ttl, tasks.clone());
    let transactions = store.transactions();
    let grpc = InventoryServiceServer::new(grpc::Grpc::new(store, config.reservation_ttl))
        .max_decoding_message_size(runtime::serve::MAX_MESSAGE_IN)
        .max_encoding_message_size(runtime::serve::MAX_MESSAGE_OUT);
    Ok(Service::new("inventory", grpc, runtime.tasks.clone())
        .waits_for(transactions)
        .probe(probe)
        .background("expiry of reservations", expiry))
}
