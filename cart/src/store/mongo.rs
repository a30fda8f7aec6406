//! Carts in MongoDB: a document a customer, under the id of the customer.
//!
//! What a save did is known when a majority of the servers has it in the journal; a load sees nothing less. Saves are not
//! sent again by the driver unless the URI asks for it: sessions, which make that safe, are not offered by every server.

mod codec;
mod expiry;
mod opening;

use async_trait::async_trait;
use mongodb::{
    Collection,
    bson::{DateTime, Document, doc},
    error::{Error, ErrorKind, WriteFailure},
};
use runtime::{
    Clock, Kind, Points, Runtime, Tasks,
    deadlines::{PROBE_QUESTION, STORE_ANSWER},
};
use storage::{Heartbeat, OpenError, StoreError};

use crate::{
    commits,
    config::Secret,
    domain::{Cart, UserId, Version},
    ports::{CartStore, Saved},
};
pub use opening::check_mongo_uri;

use codec::{decode, encode};

const COLLECTION: &str = "carts";
/// The id of the document that the readiness probe of this service writes.
const HEARTBEAT: &str = "cart";
const UNAUTHORIZED: i32 = 13;
const DUPLICATE_KEY: i32 = 11000;
/// A document that is too large, or that a rule of the collection refuses: it will be, as often as it is sent.
const REFUSED_FOR_GOOD: [i32; 2] = [10334, 121];

/// One document a customer. Clones share the connections.
#[derive(Debug, Clone)]
pub struct MongoCartStore {
    carts: Collection<Document>,
    /// Whether the server drops carts that are not changed any more.
    expires: bool,
    heartbeat: Heartbeat,
    clock: Clock,
    points: Points,
    tasks: Tasks,
}

impl MongoCartStore {
    /// Connects, and asks for the index by which the server drops old carts. Returns within about ten seconds, also when
    /// nobody answers.
    pub async fn open(uri: &Secret, database: &str, runtime: &Runtime) -> Result<Self, OpenError> {
        let Runtime {
            clock, points, tasks, ..
        } = runtime.clone();
        let carts = opening::connect(uri.reveal(), database).await?;
        let expires = expiry::ask_for(&carts).await?;
        Ok(Self {
            carts,
            expires,
            heartbeat: Heartbeat::default(),
            clock,
            points,
            tasks,
        })
    }

    /// Waits for an operation. The driver's futures must be polled to their end, so each runs in a task of its own, which
    /// goes on when its caller goes away or has waited for long enough; what it does then is not known.
    async fn run<T: Send + 'static>(
        &self,
        operation: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(STORE_ANSWER, self.tasks.spawn(operation)).await {
            Ok(Ok(done)) => done.map_err(failure),
            Ok(Err(panicked)) => Err(StoreError::corrupt(panicked)),
            Err(elapsed) => Err(StoreError::unavailable(elapsed)),
        }
    }

    /// Writes a document in a collection of its own, where no cart is.
    async fn write_heartbeat(&self) -> Result<(), StoreError> {
        let (heartbeats, now) = (opening::heartbeats(&self.carts), self.clock.now());
        let write = self.run(async move {
            let at = DateTime::from_millis(now.as_millisecond());
            let written = heartbeats
                .update_one(doc! { "_id": HEARTBEAT }, doc! { "$set": { "at": at } })
                .upsert(true)
                .await;
            match written {
                // Who may write carts and nothing else; or another process has just written the first one.
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
        let base = expected.map(|version| doc! { "_id": cart.user.as_str(), "version": version.0 });
        let (carts, points) = (self.carts.clone(), self.points.clone());
        let write = async move {
            let commit = points.enter(Kind::Commit, commits::SAVE);
            let done = match base {
                Some(base) => carts.replace_one(base, document).await?.matched_count == 1,
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
            let commit = points.enter(Kind::Commit, commits::ERASE);
            let erased = carts.delete_one(filter).await?.deleted_count;
            commit.done();
            Ok(erased == 1)
        };
        self.run(erase).await
    }

    async fn is_up(&self) -> bool {
        let carts = self.carts.clone();
        let ping = self.run(async move { opening::ping(&carts).await });
        let answers = matches!(tokio::time::timeout(PROBE_QUESTION, ping).await, Ok(Ok(())));
        answers && self.heartbeat.beat(|| self.write_heartbeat()).await
    }
}

fn failure(error: Error) -> StoreError {
    match code(&error) {
        Some(DUPLICATE_KEY) => StoreError::Conflict,
        Some(code) if REFUSED_FOR_GOOD.contains(&code) => StoreError::corrupt(error),
        _ if matches!(*error.kind, ErrorKind::Bson(_) | ErrorKind::InvalidArgument { .. }) => {
            StoreError::corrupt(error)
        }
        // Not there, not the primary, no majority, full, shutting down.
        _ => StoreError::unavailable(error),
    }
}

/// The number of what the server says is wrong.
fn code(error: &Error) -> Option<i32> {
    if let ErrorKind::Command(error) = &*error.kind {
        return Some(error.code);
    }
    if let ErrorKind::Write(WriteFailure::WriteError(error)) = &*error.kind {
        return Some(error.code);
    }
    None
}
