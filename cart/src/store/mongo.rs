//! Carts in MongoDB: one document for each customer, under the customer's id.
//!
//! A save returns when a majority of the servers has it in the journal, and loads read only such saves. The driver
//! retries saves only if the URI asks for it: safe retries need sessions, which not every server offers.

mod codec;
mod connection;
mod expiry;

use async_trait::async_trait;
use mongodb::{
    Collection,
    bson::{DateTime, Document, doc},
    error::{Error, ErrorKind, WriteFailure},
};
use runtime::{
    Clock, PointKind, Points, Runtime, Tasks,
    deadlines::{PROBE_QUESTION, STORE_ANSWER},
};
use storage::{Heartbeat, OpenError, StoreError};

use crate::{
    commits,
    config::Secret,
    domain::{Cart, UserId, Version},
    ports::{CartStore, Saved},
};
pub use connection::check_mongo_uri;

use codec::{decode, encode};

const COLLECTION: &str = "carts";
/// The id of this service's document of the readiness probe.
const HEARTBEAT: &str = "cart";
const UNAUTHORIZED: i32 = 13;
const DUPLICATE_KEY: i32 = 11000;
/// The document is too large, or the collection's validation refuses it. Retries would fail again.
const PERMANENT_ERRORS: [i32; 2] = [10334, 121];

/// Clones share the connections.
#[derive(Debug, Clone)]
pub struct MongoCartStore {
    carts: Collection<Document>,
    /// Whether the server has a TTL index for carts.
    has_ttl_index: bool,
    heartbeat: Heartbeat,
    clock: Clock,
    points: Points,
    tasks: Tasks,
}

impl MongoCartStore {
    /// Connects and creates the TTL index. Returns within about ten seconds, even without an answer.
    pub async fn open(uri: &Secret, database: &str, runtime: &Runtime) -> Result<Self, OpenError> {
        let Runtime {
            clock, points, tasks, ..
        } = runtime.clone();
        let carts = connection::connect(uri.reveal(), database).await?;
        let has_ttl_index = expiry::create_index(&carts).await?;
        Ok(Self {
            carts,
            has_ttl_index,
            heartbeat: Heartbeat::default(),
            clock,
            points,
            tasks,
        })
    }

    /// Runs an operation in a task of its own, because the driver's futures must be polled to their end. The task goes
    /// on after a timeout or a cancelled caller, whose outcome is then unknown.
    async fn run<T: Send + 'static>(
        &self,
        operation: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(STORE_ANSWER, self.tasks.spawn(operation)).await {
            Ok(Ok(done)) => done.map_err(store_error),
            Ok(Err(panicked)) => Err(StoreError::corrupt(panicked)),
            Err(elapsed) => Err(StoreError::unavailable(elapsed)),
        }
    }

    /// Writes a document to a collection of its own.
    async fn write_heartbeat(&self) -> Result<(), StoreError> {
        let (heartbeats, now) = (connection::heartbeats(&self.carts), self.clock.now());
        let write = self.run(async move {
            let at = DateTime::from_millis(now.as_millisecond());
            let written = heartbeats
                .update_one(doc! { "_id": HEARTBEAT }, doc! { "$set": { "at": at } })
                .upsert(true)
                .await;
            match written {
                // The user may write only carts, or another process has just written the first heartbeat.
                Err(error) if matches!(code(&error), Some(UNAUTHORIZED | DUPLICATE_KEY)) => Ok(()),
                written => written.map(|_| ()),
            }
        });
        let written = tokio::time::timeout(PROBE_QUESTION, write).await;
        written.unwrap_or_else(|elapsed| Err(StoreError::unavailable(elapsed)))
    }
}

#[async_trait]
impl CartStore for MongoCartStore {
    async fn load(&self, user: &UserId) -> Result<Option<Cart>, StoreError> {
        let (carts, filter) = (self.carts.clone(), doc! { "_id": user.as_str() });
        let found = self.run(async move { carts.find_one(filter).await }).await?;
        found.map(decode).transpose()
    }

    async fn save(&self, cart: &Cart, expected: Option<Version>) -> Result<Saved, StoreError> {
        let document = encode(cart)?;
        let filter = expected.map(|version| doc! { "_id": cart.user.as_str(), "version": version.0 });
        let (carts, points) = (self.carts.clone(), self.points.clone());
        let write = async move {
            let commit = points.enter(PointKind::Commit, commits::SAVE);
            let done = match filter {
                Some(filter) => carts.replace_one(filter, document).await?.matched_count == 1,
                None => carts.insert_one(document).await.map(|_| true)?,
            };
            commit.done();
            Ok(done)
        };
        match self.run(write).await {
            Ok(true) => Ok(Saved::Done),
            Ok(false) | Err(StoreError::Conflict) => Ok(Saved::Conflict),
            Err(error) => Err(error),
        }
    }

    async fn erase(&self, user: &UserId) -> Result<bool, StoreError> {
        let (carts, filter, points) = (self.carts.clone(), doc! { "_id": user.as_str() }, self.points.clone());
        let erase = async move {
            let commit = points.enter(PointKind::Commit, commits::ERASE);
            let erased = carts.delete_one(filter).await?.deleted_count;
            commit.done();
            Ok(erased == 1)
        };
        self.run(erase).await
    }

    async fn is_up(&self) -> bool {
        let carts = self.carts.clone();
        let ping = self.run(async move { connection::ping(&carts).await });
        let answers = matches!(tokio::time::timeout(PROBE_QUESTION, ping).await, Ok(Ok(())));
        answers && self.heartbeat.beat(|| self.write_heartbeat()).await
    }

    /// None: operations are tasks of the runtime, for which the service waits anyway.
    fn transactions(&self) -> Tasks {
        Tasks::new()
    }
}

fn store_error(error: Error) -> StoreError {
    match code(&error) {
        Some(DUPLICATE_KEY) => StoreError::Conflict,
        Some(code) if PERMANENT_ERRORS.contains(&code) => StoreError::corrupt(error),
        _ if matches!(*error.kind, ErrorKind::Bson(_) | ErrorKind::InvalidArgument { .. }) => {
            StoreError::corrupt(error)
        }
        // Unreachable, not the primary, no majority, full, shutting down.
        _ => StoreError::unavailable(error),
    }
}

/// The error code of the server.
fn code(error: &Error) -> Option<i32> {
    if let ErrorKind::Command(error) = &*error.kind {
        return Some(error.code);
    }
    if let ErrorKind::Write(WriteFailure::WriteError(error)) = &*error.kind {
        return Some(error.code);
    }
    None
}
