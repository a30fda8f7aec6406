//! Carts that nobody has changed for 90 days go: the server drops them, or this does where the server cannot.
//!
//! With a cart go the ids of the events that it has applied. When the topic is delivered again after that, a purchase finds
//! no cart, which is nothing to do, or a newer one, which counts all that was published before it was made as applied
//! (`Cart::stamp`). With it goes its version, too: a new cart begins with 1. A copy of the old one in a cache would hide
//! that, so carts that may go soon are not copied (`Cart::may_go_within`).

use std::time::Duration;

use futures::TryStreamExt;
use jiff::Timestamp;
use mongodb::{
    Collection, IndexModel,
    bson::{Bson, DateTime, Document, doc},
    error::Error,
    options::IndexOptions,
};
use storage::{OpenError, StoreError};
use tokio::time::timeout;

use super::{MongoCartStore, UNAUTHORIZED, code, codec::UPDATED_AT, opening::problem};
use crate::domain::LIFETIME;

const INDEX: &str = "expiry";
const INDEX_TIMEOUT: Duration = Duration::from_secs(3);
/// An index on this field is there, with other settings: somebody wants it so.
const INDEX_DIFFERS: [i32; 2] = [85, 86];
const SWEEP_EVERY: Duration = Duration::from_hours(1);
/// Carts that are dropped by one command, at most.
const BATCH: i64 = 500;

/// Asks the server to drop old carts. False when it cannot.
pub(super) async fn ask_for(carts: &Collection<Document>) -> Result<bool, OpenError> {
    let options = IndexOptions::builder()
        .name(INDEX.to_owned())
        .expire_after(LIFETIME.unsigned_abs())
        .build();
    let index = IndexModel::builder()
        .keys(doc! { UPDATED_AT: 1 })
        .options(options)
        .build();
    let Ok(asked) = timeout(INDEX_TIMEOUT, carts.create_index(index)).await else {
        // It has much to read and goes on with that; until then there is the sweep.
        return Ok(false);
    };
    let Err(error) = asked else { return Ok(true) };
    match code(&error) {
        Some(UNAUTHORIZED) => Err(problem(format!(
            "the user may not make an index in the database {}; give it the role readWrite there",
            carts.namespace().db
        ))),
        Some(code) if INDEX_DIFFERS.contains(&code) => Ok(true),
        Some(_) => {
            tracing::info!("the server drops no carts by itself; those that are not changed for 90 days are swept out");
            Ok(false)
        }
        None => Err(problem(format!(
            "the index of the carts cannot be made: {}",
            error.kind
        ))),
    }
}

impl MongoCartStore {
    /// Whether carts have to be swept out.
    pub const fn wants_sweeps(&self) -> bool {
        !self.expires
    }

    /// Sweeps out old carts now and every hour, until the tasks are stopping. Several processes may do so at the same time.
    pub(crate) async fn keep_swept(self) {
        loop {
            match self.sweep().await {
                Ok(0) => {}
                Ok(dropped) => tracing::info!(dropped, "swept out carts that nobody has changed for 90 days"),
                Err(error) => {
                    tracing::warn!(
                        error = runtime::telemetry::chain(&error),
                        "old carts could not be swept out"
                    );
                }
            }
            if !self.tasks.sleep(SWEEP_EVERY).await {
                return;
            }
        }
    }

    /// Drops carts that nobody has changed for 90 days, by the server's clock and by that of this machine, so that one that
    /// is wrong drops nothing. Returns how many there were.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        let mut dropped = 0;
        loop {
            let carts = self.carts.clone();
            let now = self.clock.now();
            let batch = self.run(async move { drop_batch(&carts, now).await }).await?;
            dropped += batch;
            if batch == 0 || self.tasks.is_stopping() {
                return Ok(dropped);
            }
        }
    }
}

async fn drop_batch(carts: &Collection<Document>, now: Timestamp) -> Result<u64, Error> {
    let now = now.as_millisecond().min(server_time(carts).await?);
    let lifetime = i64::try_from(LIFETIME.as_millis()).unwrap_or(i64::MAX);
    let old = doc! { "$lt": DateTime::from_millis(now.saturating_sub(lifetime)) };
    let found = carts
        .find(doc! { UPDATED_AT: old.clone() })
        .projection(doc! { "_id": 1 })
        .limit(BATCH)
        .await?;
    let found: Vec<Document> = found.try_collect().await?;
    let ids: Vec<Bson> = found.into_iter().filter_map(|mut cart| cart.remove("_id")).collect();
    if ids.is_empty() {
        return Ok(0);
    }
    // One that was changed since then is not old any more.
    let still_old = doc! { "_id": { "$in": ids }, UPDATED_AT: old };
    Ok(carts.delete_many(still_old).await?.deleted_count)
}

/// Milliseconds since 1970; a server that does not tell its time has no say.
async fn server_time(carts: &Collection<Document>) -> Result<i64, Error> {
    let hello = carts
        .client()
        .database("admin")
        .run_command(doc! { "hello": 1 })
        .await?;
    let time = hello.get_datetime("localTime");
    Ok(time.map_or(i64::MAX, |time| time.timestamp_millis()))
}
