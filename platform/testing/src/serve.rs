//! Services that are served in the process of the test, as a shop serves them.

use std::time::Duration;

use runtime::{
    Faults, Points, Runtime, Service,
    channel::{Peer, Policy},
    serve::{self, Running, start},
};
use tokio::net::TcpListener;
use tonic::Status;

/// Longer than anything that a test calls takes.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Of calls with which nothing goes wrong.
pub fn patient() -> Policy {
    Policy {
        deadline: PATIENCE,
        points: Points::none(),
        faults: Faults::none(),
    }
}

/// The compiled `.proto` files, and what completes a status that the transport made: the crate that has both is not known here.
pub type Interface = (&'static [u8], fn(Status) -> Status);

/// Serves it over a channel in this process, which is returned, and on a free port.
pub async fn serve(
    service: Service,
    (descriptors, complete): Interface,
    policy: Policy,
    runtime: &Runtime,
) -> (Peer, Running) {
    let (peer, incoming) = Peer::in_process(policy);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let interface = serve::Interface { descriptors, complete };
    let running = start(service, listener, incoming, interface, runtime).await.unwrap();
    (peer, running)
}
