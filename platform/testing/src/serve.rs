//! Serves a service in the process of a test, as the shop does.

use std::time::Duration;

use runtime::{
    Faults, Points, Runtime, Service,
    channel::{Peer, Policy},
    serve::{self, Running, start},
};
use tokio::net::TcpListener;
use tonic::Status;

/// The deadline of calls in tests: longer than any call takes.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// The policy of calls without faults.
pub fn test_policy() -> Policy {
    Policy {
        deadline: DEADLINE,
        points: Points::none(),
        faults: Faults::none(),
    }
}

/// The compiled `.proto` files, and the function that adds details to a status of the transport. Tests pass both in,
/// because this crate must not depend on `proto/`.
pub type GrpcContract = (&'static [u8], fn(Status) -> Status);

/// Serves a service over a channel in this process, which is returned, and on a free port.
pub async fn serve(
    service: Service,
    (descriptors, add_status_details): GrpcContract,
    policy: Policy,
    runtime: &Runtime,
) -> (Peer, Running) {
    let (peer, incoming) = Peer::in_process(policy);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let contract = serve::GrpcContract {
        descriptors,
        add_status_details,
    };
    let running = start(service, listener, incoming, contract, runtime).await.unwrap();
    (peer, running)
}
