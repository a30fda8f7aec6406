//! The catalogue: what can be bought, and for how much.

mod app;
pub mod commits;
mod config;
pub mod domain;
mod grpc;
pub mod ports;
pub mod store;

use proto::product::v1::product_service_server::ProductServiceServer;
use runtime::{Runtime, Service};
use storage::OpenError;

pub use config::{Config, Store};

/// Opens the store and wires the service, which does not run yet.
pub async fn build(config: Config, runtime: &Runtime) -> Result<Service, OpenError> {
    let (catalogue, probe) = store::open(&config.store, &runtime.points).await?;
    let transactions = catalogue.transactions();
    let grpc = ProductServiceServer::new(grpc::Grpc::new(catalogue, runtime.clock.clone()))
        .max_decoding_message_size(runtime::serve::MAX_MESSAGE_IN)
        .max_encoding_message_size(runtime::serve::MAX_MESSAGE_OUT);
    Ok(Service::new("product", grpc, runtime.tasks.clone())
        .waits_for(transactions)
        .probe(probe))
}
