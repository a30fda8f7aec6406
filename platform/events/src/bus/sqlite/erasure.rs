//! Messages of a key go from the log before their time.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures::FutureExt;
use serde_json::json;

use super::SqliteBus;
use crate::{BusError, Erase, Erased, LookedAt, commits, dead_letter_topic};

/// Whether a group (`?3`, of which there are `?4`) has not read a message of these keys (`?1`) on a topic (`?2`).
const UNREAD: &str = "SELECT EXISTS (SELECT 1 FROM messages m
    WHERE m.key IN (SELECT value FROM json_each(?1)) AND m.topic = ?2
        AND (SELECT count(*) FROM group_offsets g
            WHERE g.topic = m.topic AND g.partition = m.partition AND g.next_offset > m.\"offset\"
                AND g.consumer_group IN (SELECT value FROM json_each(?3))) < ?4)";
/// Whether there is a message of these keys (`?1`) on topics (of `?2`) that have been looked at up to an offset.
const PARKED: &str = "SELECT EXISTS (SELECT 1 FROM messages m JOIN json_each(?2) letters ON letters.key = m.topic
    WHERE m.key IN (SELECT value FROM json_each(?1)) AND m.\"offset\" >= letters.value)";
const ERASE: &str = "DELETE FROM messages WHERE key IN (SELECT value FROM json_each(?1))
    AND (topic = ?2 OR topic IN (SELECT key FROM json_each(?3)))";

#[async_trait]
impl Erase for SqliteBus {
    async fn erase(&self, topic: &str, groups: &[LookedAt], keys: &[String]) -> Result<Erased, BusError> {
        let topic = topic.to_owned();
        let letters: BTreeMap<_, _> = groups
            .iter()
            .map(|looked| (dead_letter_topic(&topic, &looked.group), looked.next_letter))
            .collect();
        let groups: Vec<_> = groups.iter().map(|looked| &looked.group).collect();
        let of_groups = i64::try_from(groups.len()).map_err(BusError::new)?;
        let (letters, groups) = (json!(letters).to_string(), json!(groups).to_string());
        let keys = json!(keys).to_string();
        let erase = self.db.write(commits::BUS_ERASE, move |tx| {
            async move {
                let unread = sqlx::query_scalar(UNREAD).bind(&keys).bind(&topic).bind(groups);
                let parked = sqlx::query_scalar(PARKED).bind(&keys).bind(&letters);
                if unread.bind(of_groups).fetch_one(&mut *tx).await? || parked.fetch_one(&mut *tx).await? {
                    return Ok(Erased::Unread);
                }
                sqlx::query(ERASE)
                    .bind(keys)
                    .bind(topic)
                    .bind(letters)
                    .execute(tx)
                    .await?;
                Ok(Erased::Gone)
            }
            .boxed()
        });
        let erased = erase.await?;
        self.db.scrub().await?;
        Ok(erased)
    }
}
