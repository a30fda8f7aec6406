//! Events that share keys, unlike those of purchases. The relay of the shop publishes them like any others.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use system_tests::home::Home;

const TOPIC: &str = "numbers";
const KEYS: u32 = 6;

/// Numbered events, inserted into the outbox past the shop.
pub(super) struct NumberedEvents<'a> {
    home: &'a Home,
    count: u32,
}

impl<'a> NumberedEvents<'a> {
    pub(super) async fn begin(home: &'a Home) -> Result<Self> {
        home.bus().await?.ensure_topic(TOPIC, 3).await?;
        Ok(Self { home, count: 0 })
    }

    /// Inserts the next number of each key.
    pub(super) async fn next(&mut self) -> Result<()> {
        let sql = format!(
            "INSERT INTO outbox (id, topic, key, headers, value, created_at)
             SELECT gen_random_uuid(), '{TOPIC}', 'key ' || key, '[]', convert_to('{}', 'UTF8'), now()
             FROM generate_series(1, {KEYS}) key",
            self.count
        );
        self.count += 1;
        self.home.execute("checkout", &sql).await
    }

    /// Checks that all events have arrived, those of each key in order apart from repetitions; returns their number.
    pub(super) async fn check(self) -> Result<usize> {
        let mut keys: BTreeMap<String, (Vec<u32>, BTreeSet<u32>)> = BTreeMap::new();
        let all = self.home.bus().await?.read_all(TOPIC).await?;
        for delivery in &all {
            let number = std::str::from_utf8(&delivery.message.value)?.parse()?;
            let (first_times, seen) = keys.entry(delivery.message.key.clone()).or_default();
            if seen.insert(number) {
                first_times.push(number);
            }
        }
        ensure!(keys.len() == usize::try_from(KEYS)?, "{:?}", keys.keys());
        for (key, (numbers, _)) in &keys {
            ensure!(numbers.iter().copied().eq(0..self.count), "{key}: {numbers:?}");
        }
        // The books would count these events.
        let sql = format!("DELETE FROM outbox WHERE topic = '{TOPIC}'");
        self.home.execute("checkout", &sql).await.context("the numbers stay")?;
        Ok(all.len())
    }
}
