//! Expired carts: a TTL index of the server deletes them, or this store does if the server has no such index.

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
use runtime::{PointKind, Points};
use storage::{OpenError, StoreError};
use tokio::time::timeout;

use super::{MongoCartStore, UNAUTHORIZED, code, codec::UPDATED_AT, connection::problem};
use crate::{commits, domain::CART_TTL, ports::CartExpiry};

const INDEX: &str = "expiry";
const INDEX_TIMEOUT: Duration = Duration::from_secs(3);
/// An operator made an index on this field with other settings. The index stays as it is.
const INDEX_DIFFERS: [i32; 2] = [85, 86];
/// Carts deleted by one command, at most.
const BATCH_SIZE: i64 = 500;

/// Creates the TTL index. False if the server cannot.
pub(super) async fn create_index(carts: &Collection<Document>) -> Result<bool, OpenError> {
    let options = IndexOptions::builder()
        .name(INDEX.to_owned())
        .expire_after(CART_TTL.unsigned_abs())
        .build();
    let index = IndexModel::builder()
        .keys(doc! { UPDATED_AT: 1 })
        .options(options)
        .build();
    let Ok(created) = timeout(INDEX_TIMEOUT, carts.create_index(index)).await else {
        // The server goes on building a large index. Until the next start this process deletes expired carts.
        return Ok(false);
    };
    let Err(error) = created else { return Ok(true) };
    match code(&error) {
        Some(UNAUTHORIZED) => Err(problem(format!(
            "the user may not make an index in the database {}; give it the role readWrite there",
            carts.namespace().db
        ))),
        Some(code) if INDEX_DIFFERS.contains(&code) => Ok(true),
        Some(_) => {
            tracing::info!(
                "the server has no TTL index; the cart service deletes carts that were not changed for 90 days"
            );
            Ok(false)
        }
        None => Err(problem(format!(
            "the index of the carts cannot be made: {}",
            error.kind
        ))),
    }
}

impl MongoCartStore {
    pub const fn needs_expiry_task(&self) -> bool {
        !self.has_ttl_index
    }
}

#[async_trait]
impl CartExpiry for MongoCartStore {
    async fn delete_expired_batch(&self, now: Timestamp) -> Result<u64, StoreError> {
        let (carts, points) = (self.carts.clone(), self.points.clone());
        self.run(async move { delete_batch(&carts, &points, now).await }).await
    }
}

async fn delete_batch(carts: &Collection<Document>, points: &Points, now: Timestamp) -> Result<u64, Error> {
    let now = now.as_millisecond().min(server_time(carts).await?);
    let ttl = i64::try_from(CART_TTL.as_millis()).unwrap_or(i64::MAX);
    let is_expired = doc! { "$lt": DateTime::from_millis(now.saturating_sub(ttl)) };
    let found = carts
        .find(doc! { UPDATED_AT: is_expired.clone() })
        .projection(doc! { "_id": 1 })
        .limit(BATCH_SIZE)
        .await?;
    let found: Vec<Document> = found.try_collect().await?;
    let ids: Vec<Bson> = found.into_iter().filter_map(|mut cart| cart.remove("_id")).collect();
    if ids.is_empty() {
        return Ok(0);
    }
    // A cart may have been changed since.
    let still_expired = doc! { "_id": { "$in": ids }, UPDATED_AT: is_expired };
    let commit = points.enter(PointKind::Commit, commits::EXPIRE);
    let deleted = carts.delete_many(still_expired).await?.deleted_count;
    commit.done();
    Ok(deleted)
}

/// Milliseconds since 1970; `i64::MAX` if the server does not tell its time.
async fn server_time(carts: &Collection<Document>) -> Result<i64, Error> {
    let hello = carts
        .client()
        .database("admin")
        .run_command(doc! { "hello": 1 })
        .await?;
    let time = hello.get_datetime("localTime");
    Ok(time.map_or(i64::MAX, |time| time.timestamp_millis()))
}
