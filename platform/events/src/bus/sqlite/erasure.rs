//! Erases messages by key.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures::FutureExt;
use serde_json::json;

use super::SqliteBus;
use crate::{BusError, Erase, EraseOutcome, LetterPosition, commits, dead_letter_topic};

/// Whether a topic (`?2`) has a message with one of these keys (`?1`) that fewer than `?4` of the groups (`?3`) have
/// read.
const UNREAD: &str = "SELECT EXISTS (SELECT 1 FROM messages m
    WHERE m.key IN (SELECT value FROM json_each(?1)) AND m.topic = ?2
        AND (SELECT count(*) FROM group_offsets g
            WHERE g.topic = m.topic AND g.partition = m.partition AND g.next_offset > m.\"offset\"
                AND g.consumer_group IN (SELECT value FROM json_each(?3))) < ?4)";
/// Whether a topic of dead letters (`?2`, with an offset each) has one of these keys (`?1`) at or after its offset.
const PARKED: &str = "SELECT EXISTS (SELECT 1 FROM messages m JOIN json_each(?2) letters ON letters.key = m.topic
    WHERE m.key IN (SELECT value FROM json_each(?1)) AND m.\"offset\" >= letters.value)";
const ERASE: &str = "DELETE FROM messages WHERE key IN (SELECT value FROM json_each(?1))
    AND (topic = ?2 OR topic IN (SELECT key FROM json_each(?3)))";

#[async_trait]
impl Erase for SqliteBus {
    async fn erase(&self, topic: &str, groups: &[LetterPosition], keys: &[String]) -> Result<EraseOutcome, BusError> {
        let topic = topic.to_owned();
        let letters: BTreeMap<_, _> = groups
            .iter()
            .map(|position| (dead_letter_topic(&topic, &position.group), position.next_offset))
            .collect();
        let groups: Vec<_> = groups.iter().map(|position| &position.group).collect();
        let of_groups = i64::try_from(groups.len()).map_err(BusError::new)?;
        let (letters, groups) = (json!(letters).to_string(), json!(groups).to_string());
        let keys = json!(keys).to_string();
        let erase = self.db.write(commits::BUS_ERASE, move |tx| {
            async move {
                let unread = sqlx::query_scalar(UNREAD).bind(&keys).bind(&topic).bind(groups);
                let parked = sqlx::query_scalar(PARKED).bind(&keys).bind(&letters);
                if unread.bind(of_groups).fetch_one(&mut *tx).await? || parked.fetch_one(&mut *tx).await? {
                    return Ok(EraseOutcome::Unread);
                }
                sqlx::query(ERASE)
                    .bind(keys)
                    .bind(topic)
                    .bind(letters)
                    .execute(tx)
                    .await?;
                Ok(EraseOutcome::Erased)
            }
            .boxed()
        });
        let erased = erase.await?;
        self.db.scrub().await?;
        Ok(erased)
    }
}
