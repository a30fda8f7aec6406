//! The use cases, and the parts that they share.

mod drive;
mod endings;
pub mod erasure;
pub mod get_checkout;
pub mod initiate_checkout;
pub mod list_checkouts;
pub mod recovery;

use std::{sync::Arc, time::Duration};

use events::Wake;
use runtime::{Clock, Ids, Runtime, Tasks};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::ports::{Lease, Ports};
use endings::Endings;

/// How long a driver owns a saga after its last write. Longer than any call takes.
const LEASE: Duration = Duration::from_secs(15);

/// Sagas that one process works on at once. Those that it has begun go on before it begins others: more at once would only
/// take the participants' connections from each other, until all of them are too late.
pub const PLACES: usize = 256;

/// The right to work on a saga, as long as it is held. There is always one to be had: nobody closes the places.
type Place = Option<OwnedSemaphorePermit>;

/// Everything that drives sagas in this process. Clones share it.
#[derive(Clone)]
pub struct Sagas {
    ports: Ports,
    wake: Wake,
    lease: Lease,
    clock: Clock,
    ids: Ids,
    tasks: Tasks,
    endings: Arc<Endings>,
    places: Arc<Semaphore>,
}

impl Sagas {
    pub fn new(ports: Ports, wake: Wake, owner: String, runtime: &Runtime) -> Self {
        Self {
            ports,
            wake,
            lease: Lease { owner, ttl: LEASE },
            clock: runtime.clock.clone(),
            ids: runtime.ids.clone(),
            tasks: runtime.tasks.clone(),
            endings: Arc::default(),
            places: Arc::new(Semaphore::new(PLACES)),
        }
    }

    /// How many sagas more could be worked on now.
    fn free_places(&self) -> u32 {
        u32::try_from(self.places.available_permits()).unwrap_or(u32::MAX)
    }

    /// Waits for a place: first come, first served.
    async fn place(&self) -> Place {
        self.places.clone().acquire_owned().await.ok()
    }
}
