//! Closed shops in which everything is ready for a scenario.

use anyhow::{Context, bail, ensure};
use cartwright::http::Customer;
use system_tests::{
    books,
    home::{Home, Profile},
    process::ShopProcess,
};

use super::{
    people::{PRICE, People, WANTED, buy, buy_with, fill_cart},
    scenario::Scenario,
};

/// What cannot be written for a while.
struct Outage {
    store: &'static str,
    table: &'static str,
    /// `INSERT` or `UPDATE`.
    change: &'static str,
    /// Of the row that would be written, `NEW`.
    when: String,
}

/// The home of a shop that was closed, or whose process is gone.
pub(super) async fn prepare(profile: Profile, scenario: Scenario) -> anyhow::Result<Home> {
    let home = Home::new(profile).await?;
    let shop = ShopProcess::open(scenario.command(&home)).await?;
    let people = People::of(&shop, &home)?;
    match scenario {
        Scenario::Success
        | Scenario::OutOfStock
        | Scenario::Declined
        | Scenario::ReplyLost
        | Scenario::Duplicate
        | Scenario::ProviderDown => {
            if scenario == Scenario::OutOfStock {
                // Of a hundred.
                buy_now(&people.bob, 99).await?;
                books::settle(&home).await?;
            }
            fill_cart(&people.alice, 1, 2).await?;
            fill_cart(&people.alice, 2, 2).await?;
        }
        Scenario::HoldLost | Scenario::TakenUp => {
            people.offer(WANTED).await?;
            people.stock_up(WANTED, 2).await?;
            fill_cart(&people.alice, WANTED, 2).await?;
            fill_cart(&people.bob, WANTED, 1).await?;
        }
        Scenario::StockAway => {
            fill_cart(&people.alice, 2, 1).await?;
            fill_cart(&people.bob, 2, 1).await?;
        }
        Scenario::CartAway => fill_cart(&people.alice, 2, 1).await?,
        Scenario::Browsing | Scenario::LongAgo => {
            buy_now(&people.alice, 1).await?;
            books::settle(&home).await?;
        }
        Scenario::Delivery => {}
        Scenario::Erasure => {
            buy_now(&people.alice, 1).await?;
            books::settle(&home).await?;
            fill_cart(&people.alice, 2, 1).await?;
            let declined = buy_with(&people.alice, "another key", "pm_card_declined").await?;
            let declined = declined.context("no answer in time")?;
            ensure!(declined["status"] == "FAILED", "{declined}");
            books::settle(&home).await?;
        }
    }
    close(shop).await?;
    match scenario {
        Scenario::HoldLost | Scenario::CartAway => send_the_provider_away(&home).await?,
        Scenario::TakenUp => {
            send_the_provider_away(&home).await?;
            leave_alice_alone(&home).await?;
            end_the_outage(&home, "provider").await?;
        }
        Scenario::StockAway => {
            let outage = Outage {
                store: "inventory",
                table: "reservations",
                change: "UPDATE",
                when: "NEW.state IN ('CONFIRMED', 'RELEASED')".to_owned(),
            };
            begin(&outage, &home).await?;
        }
        Scenario::LongAgo => {
            send_to_the_past(&home).await?;
            if profile == Profile::Embedded {
                // As a version leaves it that signed no events.
                std::fs::remove_file(home.folder().join("events.key"))?;
            }
            leave_an_old_cart(&home).await?;
        }
        Scenario::Success
        | Scenario::OutOfStock
        | Scenario::Declined
        | Scenario::ReplyLost
        | Scenario::Duplicate
        | Scenario::ProviderDown
        | Scenario::Browsing
        | Scenario::Erasure => {}
        // As a process of an earlier version leaves what it writes.
        Scenario::Delivery => {
            home.execute("product", "UPDATE products SET search_marked = NULL")
                .await?;
        }
    }
    Ok(home)
}

async fn close(shop: ShopProcess) -> anyhow::Result<()> {
    let (status, said) = shop.stop().await?;
    ensure!(status.success(), "{status}: {said}");
    Ok(())
}

/// Laptops, for which there are charge and stock.
async fn buy_now(customer: &Customer, laptops: i64) -> anyhow::Result<()> {
    fill_cart(customer, 1, laptops).await?;
    let bought = buy(customer, "pm_card_ok").await?.context("no answer in time")?;
    ensure!(bought["status"] == "COMPLETED", "{bought}");
    Ok(())
}

async fn begin(outage: &Outage, home: &Home) -> anyhow::Result<()> {
    let Outage {
        store,
        table,
        change,
        when,
    } = outage;
    let is_away = format!("{when} AND NOT EXISTS (SELECT 1 FROM back)");
    let trigger = match home.profile() {
        Profile::Embedded => format!(
            "CREATE TRIGGER outage BEFORE {change} ON {table} WHEN {is_away}
             BEGIN SELECT RAISE(ABORT, 'it is away'); END"
        ),
        Profile::Engines => format!(
            "CREATE FUNCTION fail_when_away() RETURNS trigger LANGUAGE plpgsql SET search_path = \"{store}\" AS $$
             BEGIN
                IF {is_away} THEN RAISE EXCEPTION 'it is away'; END IF;
                RETURN NEW;
             END $$;
             CREATE TRIGGER outage BEFORE {change} ON {table} FOR EACH ROW EXECUTE FUNCTION fail_when_away()"
        ),
    };
    let sql = format!("CREATE TABLE back (yes INTEGER PRIMARY KEY); {trigger}");
    home.execute(store, &sql).await
}

/// Ends it, also while the shop is open.
pub(super) async fn end_the_outage(home: &Home, store: &str) -> anyhow::Result<()> {
    home.execute(store, "INSERT INTO back VALUES (1) ON CONFLICT DO NOTHING")
        .await
}

/// The provider cannot charge alice, who wants two pieces or a dear one, but bob, who wants a cheap one.
async fn send_the_provider_away(home: &Home) -> anyhow::Result<()> {
    let outage = Outage {
        store: "provider",
        table: "charges",
        change: "INSERT",
        when: format!("NEW.amount > {PRICE}"),
    };
    begin(&outage, home).await
}

/// Makes events a day older than published ones are kept.
async fn send_to_the_past(home: &Home) -> anyhow::Result<()> {
    let eight_days = match home.profile() {
        Profile::Embedded => "8 * 24 * 3600 * 1000",
        Profile::Engines => "interval '8 days'",
    };
    let sql = format!("UPDATE outbox SET published_at = published_at - {eight_days}");
    home.execute("checkout", &sql).await
}

/// Somebody left a cart and did not come back. Where MongoDB keeps carts, it drops them by itself.
async fn leave_an_old_cart(home: &Home) -> anyhow::Result<()> {
    if home.profile() == Profile::Engines {
        return Ok(());
    }
    let document = r#"{"user":"carol","cart_id":"00000000-0000-0000-0000-000000000001","version":1,"lines":[],
        "updated_at":0,"last_hold":0,"applied_floor":null,"applied":[]}"#;
    let sql = format!(
        "INSERT INTO carts (user_id, cart_id, version, document, updated_at)
         VALUES ('carol', '00000000-0000-0000-0000-000000000001', 1, '{document}', 0)"
    );
    home.execute("cart", &sql).await
}

/// The process goes while alice waits to be charged, for what bob has bought by then.
async fn leave_alice_alone(home: &Home) -> anyhow::Result<()> {
    let shop = ShopProcess::open(Scenario::HoldLost.command(home)).await?;
    let people = People::of(&shop, home)?;
    tokio::select! {
        alice = buy(&people.alice, "pm_card_ok") => bail!("alice was answered: {alice:?}"),
        bob = people.get_ahead_of_alice() => {
            let bought = bob?.context("no answer in time")?;
            ensure!(bought["status"] == "COMPLETED", "{bought}");
        }
    }
    shop.kill().await
}
