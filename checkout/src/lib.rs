//! Purchases: the saga over stock, cart and payment, its tables, its outbox. A purchase happens once or not at all.

pub mod app;
pub mod commits;
mod config;
pub mod domain;
mod grpc;
mod peers;
pub mod ports;
pub mod saga;
pub mod store;

use std::sync::Arc;

use ::saga::Engine;
use events::{EventBus, Relay, RelayWaker, ServiceEvents};
use proto::checkout::v1::checkout_service_server::CheckoutServiceServer;
use runtime::{Runtime, Service, channel::Peer};
use storage::OpenError;

pub use config::{Config, Store};

/// The services that a purchase needs.
#[derive(Debug, Clone)]
pub struct Peers {
    pub product: Peer,
    pub cart: Peer,
    pub inventory: Peer,
    pub payment: Peer,
}

/// Builds the service: opens its journal, connects its peers, prepares recovery and the relay.
pub async fn build(
    config: Config,
    peers: Peers,
    bus: Arc<dyn EventBus>,
    runtime: &Runtime,
) -> Result<Service, OpenError> {
    let store = store::open(&config.store, &runtime.points).await?;
    let wake = RelayWaker::default();
    let carts = Arc::new(peers::cart::GrpcCarts::new(peers.cart));
    let participants = saga::Participants {
        carts: carts.clone(),
        stock: Arc::new(peers::inventory::GrpcStock::new(peers.inventory)),
        payments: Arc::new(peers::payment::GrpcPayments::new(peers.payment)),
    };
    let parts = ::saga::Parts {
        journal: store.journal.clone(),
        calls: Arc::new(participants),
        wake: wake.clone(),
        owner: config.owner.clone(),
    };
    let engine = Engine::start(parts, runtime).await;
    let checkouts = app::Checkouts {
        engine: engine.clone(),
        records: store.records.clone(),
        carts,
        catalogue: Arc::new(peers::product::GrpcCatalogue::new(peers.product)),
    };
    let relay = Relay {
        outbox: store.outbox,
        bus: bus.clone(),
        topics: proto::events::TOPICS,
        wake,
        owner: config.owner.clone(),
        poll: config.outbox_poll,
        batch: config.outbox_batch,
        retention: config.outbox_retention,
        clock: runtime.clock.clone(),
        points: runtime.points.clone(),
    };
    let eraser = app::erasure::Eraser::new(store.journal, store.records, bus);
    let grpc = grpc::CheckoutGrpc::new(checkouts, eraser, config.timeout, config.default_method);
    let grpc = CheckoutServiceServer::new(grpc)
        .max_decoding_message_size(runtime::serve::MAX_MESSAGE_IN)
        .max_encoding_message_size(runtime::serve::MAX_MESSAGE_OUT);
    Ok(Service::new("checkout", grpc, runtime.tasks.clone())
        .background("recovery", move || {
            let engine = engine.clone();
            async move { engine.recover().await }
        })
        .publish(relay)
        .waits_for(store.transactions)
        .probe(store.probe))
}
