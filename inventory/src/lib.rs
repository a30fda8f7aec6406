//! Stock, and the holds that checkouts have on it.

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

/// Opens the store and puts the service together. Nothing runs yet; what has run out is given back once it does.
pub async fn build(config: Config, runtime: &Runtime) -> Result<Service, OpenError> {
    let (store, probe) = store::open(&config.store, &runtime.points).await?;
    let (swept, ttl, tasks) = (store.clone(), config.reservation_ttl, runtime.tasks.clone());
    let sweep = move || app::expire_holds(swept.clone(), ttl, tasks.clone());
    let transactions = store.transactions();
    let grpc = InventoryServiceServer::new(grpc::Grpc::new(store, config.reservation_ttl))
        .max_decoding_message_size(runtime::serve::MAX_MESSAGE_IN)
        .max_encoding_message_size(runtime::serve::MAX_MESSAGE_OUT);
    Ok(Service::new("inventory", grpc, runtime.tasks.clone())
        .waits_for(transactions)
        .probe(probe)
        .background("expiry of holds", sweep))
}
