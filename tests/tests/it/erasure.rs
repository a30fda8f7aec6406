//! Erasure: a command beside the shop removes the data of a customer.

mod cart_proxy;

use std::{ops::Range, process::Output};

use anyhow::{Context, Result, ensure};
use cartwright::http::Customer;
use events::{DeadLetters, Message};
use proto::events::CHECKOUTS;
use serde_json::json;
use system_tests::{
    books,
    home::{Home, Profile},
    process::ShopProcess,
    shopping::{add, buy, check_out},
    shops::{until, wait_for},
};

use crate::BINARY;
use cart_proxy::CartProxy;

/// Ids that occur nowhere else, so that a test can search for them as text.
const ANN: &str = "ann-7f3a9c51";
const BOB: &str = "bob-d20b86e4";

on_every_profile! {
    an_erased_customer_is_found_nowhere_and_other_customers_are_unchanged,
    a_customer_with_an_unfinished_purchase_is_not_erased,
    a_customer_with_a_parked_event_is_erased_only_if_the_event_may_be_dropped,
    an_erasure_fails_while_a_service_is_down,
    purchases_made_during_the_erasure_are_erased_too,
    an_erasure_fails_while_its_customer_goes_on_buying,
}

/// Runs `cartwright erase` beside a shop.
async fn erase(shop: &ShopProcess, home: &Home, arguments: &[&str]) -> Result<Output> {
    let mut command = home.command(BINARY);
    command.args(["erase", "--user", ANN]).args(arguments);
    for (service, address) in &shop.addresses {
        command.env(format!("{}_SERVICE_ADDR", service.to_uppercase()), address.to_string());
    }
    Ok(command.output().await?)
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The one line of a refusal.
fn refusal(output: &Output) -> Result<String> {
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    ensure!(
        output.status.code() == Some(1) && stderr.lines().count() == 1,
        "{output:?}"
    );
    Ok(stderr)
}

/// Makes two purchases and a declined one, which leaves an item in the cart.
async fn buy_and_fill_cart(customer: &Customer, home: &Home) -> Result<()> {
    for (product, key, method) in [
        (1, "a", "pm_card_ok"),
        (2, "b", "pm_card_ok"),
        (3, "c", "pm_card_declined"),
    ] {
        add(customer, product, 2).await?;
        check_out(customer, key, method).await?.context("not ended")?;
        books::wait_until_idle(home).await?;
    }
    let cart = customer.get("/api/v1/cart").await?.json();
    ensure!(
        cart["items"].as_array().is_some_and(|items| !items.is_empty()),
        "{cart}"
    );
    Ok(())
}

/// The tables, keys and files that contain a text. Snapshots show bytes as hexadecimal digits.
async fn find_text(text: &str, home: &Home) -> Result<Vec<String>> {
    let digits: String = text
        .bytes()
        .fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"));
    let mut found = home.cache_keys_with(text).await?;
    for (table, rows) in home.dump().await? {
        if rows
            .iter()
            .any(|row| row.contains(text) || row.to_lowercase().contains(&digits))
        {
            found.push(table);
        }
    }
    if home.profile() == Profile::Embedded {
        for entry in std::fs::read_dir(home.folder())? {
            let path = entry?.path();
            let bytes = std::fs::read(&path)?;
            if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    Ok(found)
}

/// Every row that contains a text.
async fn rows_with(text: &str, home: &Home) -> Result<Vec<String>> {
    let all = home.dump().await?;
    let rows = all.into_iter().flat_map(|(table, rows)| {
        let of = move |row| format!("{table}: {row}");
        rows.into_iter().map(of)
    });
    Ok(rows.filter(|row| row.contains(text)).collect())
}

async fn an_erased_customer_is_found_nowhere_and_other_customers_are_unchanged(profile: Profile) -> Result<()> {
    let home = Home::new(profile).await?;
    let shop = ShopProcess::open(home.command(BINARY)).await?;
    let (ann, bob) = (shop.customer(ANN)?, shop.customer(BOB)?);
    buy_and_fill_cart(&ann, &home).await?;
    buy_and_fill_cart(&bob, &home).await?;
    books::balance(&home).await?;
    let before = find_text(ANN, &home).await?;
    for store in [
        "checkout.checkouts",
        "checkout.outbox",
        "orders.orders",
        "notification.notifications",
        "cart.carts",
    ] {
        ensure!(
            before.iter().any(|place| place == store),
            "{store} is not in {before:?}"
        );
    }
    let of_bob = rows_with(BOB, &home).await?;

    let asked = erase(&shop, &home, &[]).await?;
    ensure!(refusal(&asked)?.contains("--yes"), "{asked:?}");
    assert_eq!(find_text(ANN, &home).await?, before, "nothing was erased yet");

    let erased = erase(&shop, &home, &["--yes"]).await?;
    ensure!(erased.status.success(), "{erased:?}");
    for line in [
        "notification  3 notifications removed",
        "orders        2 orders made nobody's",
        "cart          1 cart removed",
        "checkout      3 checkouts made nobody's",
        "nothing else is kept of this customer",
    ] {
        ensure!(
            stdout(&erased).lines().any(|printed| printed == line),
            "{line:?}: {erased:?}"
        );
    }
    let kept: &[&str] = match profile {
        Profile::Embedded => &[],
        // Kafka cannot delete a single event; the command says so.
        Profile::Engines => &["bus.messages"],
    };
    assert_eq!(find_text(ANN, &home).await?, kept);
    assert_eq!(stdout(&erased).contains("kafka"), !kept.is_empty(), "{erased:?}");
    assert_eq!(rows_with(BOB, &home).await?, of_bob, "the other customer");
    books::balance(&home).await?;
    for list in ["/api/v1/orders", "/api/v1/cart"] {
        let seen = ann.get(list).await?.json();
        let items = seen.as_array().or_else(|| seen["items"].as_array()).context(list)?;
        ensure!(items.is_empty(), "{list}: {seen}");
    }

    let again = erase(&shop, &home, &["--yes"]).await?;
    ensure!(
        again.status.success() && stdout(&again).contains("nothing is kept of this customer"),
        "{again:?}"
    );

    // Afterwards the same id is a new customer: the same key makes a new purchase.
    add(&ann, 1, 2).await?;
    buy(&ann, "a").await?;
    books::wait_until_idle(&home).await?;
    let orders = ann.get("/api/v1/orders").await?.json();
    assert_eq!(orders.as_array().map(Vec::len), Some(1), "{orders}");
    books::balance(&home).await?;
    shop.stop().await?;
    Ok(())
}

async fn a_customer_with_an_unfinished_purchase_is_not_erased(profile: Profile) -> Result<()> {
    let home = Home::new(profile).await?;
    let mut slow = home.command(BINARY);
    slow.env("PAYMENT_MIN_LATENCY", "4s")
        .env("PAYMENT_MAX_LATENCY", "4s")
        .env("CHECKOUT_TIMEOUT", "20s");
    let shop = ShopProcess::open(slow).await?;
    let ann = shop.customer(ANN)?;
    add(&ann, 1, 2).await?;
    let refused = async {
        let pending = "SELECT id FROM checkouts WHERE state = 'PAYMENT_PENDING'";
        let (id,): (String,) = wait_for("the purchase goes on", async || {
            Ok(home.rows("checkout", pending).await?.into_iter().next())
        })
        .await?;
        let stderr = refusal(&erase(&shop, &home, &["--yes"]).await?)?;
        ensure!(stderr.contains(&id) && stderr.contains("has not ended"), "{stderr}");
        Ok(())
    };
    let (bought, refused) = tokio::join!(buy(&ann, "a"), refused);
    refused?;
    bought.context("the purchase was disturbed")?;
    let erased = erase(&shop, &home, &["--yes"]).await?;
    ensure!(erased.status.success(), "{erased:?}");
    books::check(&home).await?;
    let mut found = find_text(ANN, &home).await?;
    // Kafka keeps the event. The embedded bus drops it, even if it was published just before the erasure.
    found.retain(|place| profile == Profile::Embedded || place != "bus.messages");
    assert_eq!(found, [""; 0]);
    shop.stop().await?;
    Ok(())
}

async fn a_customer_with_a_parked_event_is_erased_only_if_the_event_may_be_dropped(profile: Profile) -> Result<()> {
    let home = Home::new(profile).await?;
    let shop = ShopProcess::open(home.command(BINARY)).await?;
    let ann = shop.customer(ANN)?;
    add(&ann, 1, 2).await?;
    let bought = buy(&ann, "a").await?;
    books::wait_until_idle(&home).await?;
    let nonsense = Message {
        key: bought["checkout_id"].as_str().context("no id")?.to_owned(),
        headers: Vec::new(),
        value: json!({"user_id": ANN}).to_string().into(),
    };
    let bus = home.bus().await?;
    bus.publish(CHECKOUTS.name, vec![nonsense]).await?;
    let letters = DeadLetters::new(bus);
    for &group in CHECKOUTS.groups {
        until("the event is parked", async || {
            Ok(!letters.list(CHECKOUTS.name, group).await?.is_empty())
        })
        .await?;
    }
    let before = find_text(ANN, &home).await?;
    let parked = refusal(&erase(&shop, &home, &["--yes"]).await?)?;
    ensure!(parked.contains("is parked"), "{parked}");
    assert_eq!(find_text(ANN, &home).await?, before, "nothing was erased");
    let command = parked.split('`').nth(1).context("no command")?.to_owned();
    ensure!(command.starts_with("cartwright dlq redrive "), "{parked}");
    books::balance(&home).await?;

    // The event can never be applied, so the operator drops it.
    let erased = erase(&shop, &home, &["--yes", "--drop-parked"]).await?;
    ensure!(erased.status.success(), "{erased:?}");
    let mut found = find_text(ANN, &home).await?;
    found.retain(|place| place != "bus.messages");
    assert_eq!(found, [""; 0]);
    if profile == Profile::Embedded {
        assert!(rows_with(ANN, &home).await?.is_empty(), "its letters went, too");
    }
    books::balance(&home).await?;
    shop.stop().await?;
    Ok(())
}

async fn an_erasure_fails_while_a_service_is_down(profile: Profile) -> Result<()> {
    let home = Home::new(profile).await?;
    let mut shop = ShopProcess::open(home.command(BINARY)).await?;
    let ann = shop.customer(ANN)?;
    add(&ann, 1, 2).await?;
    buy(&ann, "a").await?;
    add(&ann, 2, 2).await?;
    books::wait_until_idle(&home).await?;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let cart = shop.addresses.insert("cart".to_owned(), nobody).context("no cart")?;
    let stderr = refusal(&erase(&shop, &home, &["--yes"]).await?)?;
    ensure!(
        stderr.contains("cart did not answer") && stderr.contains("CART_SERVICE_ADDR"),
        "{stderr}"
    );
    shop.addresses.insert("cart".to_owned(), cart);
    let erased = erase(&shop, &home, &["--yes"]).await?;
    ensure!(
        erased.status.success() && stdout(&erased).contains("1 cart removed"),
        "{erased:?}"
    );
    books::balance(&home).await?;
    shop.stop().await?;
    Ok(())
}

/// Erases a customer with one purchase, who makes another for each key whenever the cart, the last step, is erased.
async fn erase_during_purchases(home: &Home, shop: &mut ShopProcess, keys: Range<u32>) -> Result<Output> {
    let ann = shop.customer(ANN)?;
    add(&ann, 1, 2).await?;
    buy(&ann, "before").await?;
    books::wait_until_idle(home).await?;
    let cart = *shop.addresses.get("cart").context("no cart")?;
    CartProxy::run_during(ann, keys, cart, async |in_front| {
        shop.addresses.insert("cart".to_owned(), in_front);
        erase(shop, home, &["--yes"]).await
    })
    .await
}

async fn purchases_made_during_the_erasure_are_erased_too(profile: Profile) -> Result<()> {
    let home = Home::new(profile).await?;
    let mut shop = ShopProcess::open(home.command(BINARY)).await?;
    let erased = erase_during_purchases(&home, &mut shop, 0..1).await?;
    ensure!(erased.status.success(), "{erased:?}");
    let made_nobodys = "checkout      2 checkouts made nobody's";
    ensure!(
        stdout(&erased).lines().any(|line| line == made_nobodys),
        "one before, one meanwhile: {erased:?}"
    );
    books::wait_until_idle(&home).await?;
    let mut found = find_text(ANN, &home).await?;
    found.retain(|place| place != "bus.messages");
    assert_eq!(found, [""; 0]);
    books::balance(&home).await?;
    shop.stop().await?;
    Ok(())
}

async fn an_erasure_fails_while_its_customer_goes_on_buying(profile: Profile) -> Result<()> {
    let home = Home::new(profile).await?;
    let mut shop = ShopProcess::open(home.command(BINARY)).await?;
    let stderr = refusal(&erase_during_purchases(&home, &mut shop, 0..1000).await?)?;
    ensure!(
        stderr.contains("goes on shopping") && stderr.contains("erase this customer again"),
        "{stderr}"
    );
    books::check(&home).await?;
    shop.stop().await?;
    Ok(())
}
