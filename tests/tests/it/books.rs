//! The books themselves: they report what is missing.

use anyhow::{Result, ensure};
use system_tests::{home::Profile, shops::Shop};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_the_outbox_that_is_not_on_its_topic_is_reported() -> Result<()> {
    const ID: &str = "01900000-0000-7000-8000-000000000001";
    let shop = Shop::open(Profile::Embedded).await?;
    shop.buyer("ada")?.buy_one(2, 1, "key", "pm_card_ok").await?;
    shop.wait_until_idle().await?;
    shop.balance().await?;
    let now = "unixepoch() * 1000";
    let publish = format!(
        "INSERT INTO outbox (id, topic, key, headers, value, created_at, published_at)
         VALUES ('{ID}', 'another-topic', 'key', '[]', x'', {now}, {now})"
    );
    shop.home().execute("checkout", &publish).await?;
    let missing = shop.balance().await.unwrap_err().to_string();
    ensure!(missing.contains("I11: ") && missing.contains(ID), "{missing}");
    // An event of this id on the topic of checkouts is another event.
    let moved = format!("UPDATE outbox SET topic = 'another-topic' WHERE id <> '{ID}'");
    shop.home().execute("checkout", &moved).await?;
    let missing = shop.balance().await.unwrap_err().to_string();
    ensure!(missing.matches("I11: ").count() == 2, "{missing}");
    Ok(())
}
