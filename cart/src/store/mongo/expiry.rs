//! Old carts: the server drops them, or tells which ones they are where it cannot.

use std::time::Duration;

use async_trait::async_trait;
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
use crate::{domain::LIFETIME, ports::OldCarts};

const INDEX: &str = "expiry";
const INDEX_TIMEOUT: Duration = Duration::from_secs(3);
/// An index on this field is there, with other settings: somebody wants it so.
const INDEX_DIFFERS: [i32; 2] = [85, 86];
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
}

#[async_trait]
impl OldCarts for MongoCartStore {
    async fn drop_some(&self, now: Timestamp) -> Result<u64, StoreError> {
        let carts = self.carts.clone();
        self.run(async move { drop_batch(&carts, now).await }).await
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
