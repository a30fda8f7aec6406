//! Erasure: what a shop keeps of a customer goes, by a command beside it.

mod shopper;

use std::{ops::Range, path::Path, process::Output};

use anyhow::{Context, Result, ensure};
use cartwright::http::Customer;
use events::{DeadLetters, Message};
use http::StatusCode;
use proto::events::CHECKOUTS;
use serde_json::{Value, json};
use system_tests::{
    books,
    home::{Home, Profile},
    process::ShopProcess,
    shops::until,
};

use shopper::Shopper;

const BINARY: &str = env!("CARGO_BIN_EXE_shop");
/// Ids that stand nowhere else, so that they can be searched for as text.
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
    let mut command = home.command(Path::new(BINARY));
    command.args(["erase", "--user", ANN]).args(arguments);
    for (service, address) in &shop.addresses {
        command.env(format!("{}_SERVICE_ADDR", service.to_uppercase()), address.to_string());
    }
    Ok(command.output().await?)
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The one line with which it was refused.
fn refusal(output: &Output) -> Result<String> {
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    ensure!(
        output.status.code() == Some(1) && said.lines().count() == 1,
        "{output:?}"
    );
    Ok(said)
}

async fn add(customer: &Customer, product: i64) -> Result<()> {
    let item = json!({"product_id": product, "quantity": 2});
    let added = customer.post("/api/v1/cart/items", &item).await?;
    ensure!(added.status.is_success(), "{added:?}");
    Ok(())
}

async fn buy(customer: &Customer, key: &str, method: &str) -> Result<Value> {
    let body = json!({"idempotency_key": key, "payment_method": method});
    let bought = customer.post("/api/v1/checkout", &body).await?;
    ensure!(bought.status == StatusCode::CREATED, "{bought:?}");
    Ok(bought.json())
}

/// Two purchases, a declined one, and a cart with something in it.
async fn go_shopping(customer: &Customer, home: &Home) -> Result<()> {
    for (product, key, method) in [
        (1, "a", "pm_card_ok"),
        (2, "b", "pm_card_ok"),
        (3, "c", "pm_card_declined"),
    ] {
        add(customer, product).await?;
        buy(customer, key, method).await?;
        books::settle(home).await?;
    }
    let cart = customer.get("/api/v1/cart").await?.json();
    ensure!(
        cart["items"].as_array().is_some_and(|items| !items.is_empty()),
        "{cart}"
    );
    Ok(())
}

/// The tables, keys and files in which a text stands. What a database keeps as bytes is shown in hexadecimal digits.
async fn places_of(text: &str, home: &Home) -> Result<Vec<String>> {
    let digits: String = text
        .bytes()
        .fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"));
    let mut places = home.cache_keys_with(text).await?;
    for (table, rows) in home.contents().await? {
        if rows
            .iter()
            .any(|row| row.contains(text) || row.to_lowercase().contains(&digits))
        {
            places.push(table);
        }
    }
    if home.profile() == Profile::Embedded {
        for entry in std::fs::read_dir(home.folder())? {
            let path = entry?.path();
            let bytes = std::fs::read(&path)?;
            if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                places.push(path.display().to_string());
            }
        }
    }
    Ok(places)
}

/// Every row in which a text stands.
async fn rows_of(text: &str, home: &Home) -> Result<Vec<String>> {
    let all = home.contents().await?;
    let rows = all.into_iter().flat_map(|(table, rows)| {
        let of = move |row| format!("{table}: {row}");
        rows.into_iter().map(of)
    });
    Ok(rows.filter(|row| row.contains(text)).collect())
}

async fn an_erased_customer_is_found_nowhere_and_other_customers_are_unchanged(profile: Profile) -> Result<()> {
    let home = Home::new(profile).await?;
    let shop = ShopProcess::open(home.command(Path::new(BINARY))).await?;
    let (ann, bob) = (shop.customer(ANN)?, shop.customer(BOB)?);
    go_shopping(&ann, &home).await?;
    go_shopping(&bob, &home).await?;
    books::balance(&home).await?;
    let before = places_of(ANN, &home).await?;
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
    let of_bob = rows_of(BOB, &home).await?;

    let asked = erase(&shop, &home, &[]).await?;
    ensure!(refusal(&asked)?.contains("--yes"), "{asked:?}");
    assert_eq!(places_of(ANN, &home).await?, before, "nothing was erased yet");

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
            printed(&erased).lines().any(|said| said == line),
            "{line:?}: {erased:?}"
        );
    }
    let kept: &[&str] = match profile {
        Profile::Embedded => &[],
        // A broker lets no single event go; the command says so.
        Profile::Engines => &["bus.messages"],
    };
    assert_eq!(places_of(ANN, &home).await?, kept);
    assert_eq!(printed(&erased).contains("kafka"), !kept.is_empty(), "{erased:?}");
    assert_eq!(rows_of(BOB, &home).await?, of_bob, "the other customer");
    books::balance(&home).await?;
    for list in ["/api/v1/orders", "/api/v1/cart"] {
        let seen = ann.get(list).await?.json();
        let items = seen.as_array().or_else(|| seen["items"].as_array()).context(list)?;
        ensure!(items.is_empty(), "{list}: {seen}");
    }

    let again = erase(&shop, &home, &["--yes"]).await?;
    ensure!(
        again.status.success() && printed(&again).contains("nothing is kept of this customer"),
        "{again:?}"
    );

    // Whoever has the same id afterwards is a new customer: the same key is a new purchase.
    add(&ann, 1).await?;
    let bought = buy(&ann, "a", "pm_card_ok").await?;
    ensure!(bought["status"] == "COMPLETED", "{bought}");
    books::settle(&home).await?;
    let orders = ann.get("/api/v1/orders").await?.json();
    assert_eq!(orders.as_array().map(Vec::len), Some(1), "{orders}");
    books::balance(&home).await?;
    shop.stop().await?;
    Ok(())
}

async fn a_customer_with_an_unfinished_purchase_is_not_erased(profile: Profile) -> Result<()> {
    let home = Home::new(profile).await?;
    let mut slow = home.command(Path::new(BINARY));
    slow.env("PAYMENT_MIN_LATENCY", "4s")
        .env("PAYMENT_MAX_LATENCY", "4s")
        .env("CHECKOUT_TIMEOUT", "20s");
    let shop = ShopProcess::open(slow).await?;
    let ann = shop.customer(ANN)?;
    add(&ann, 1).await?;
    let refused = async {
        let pending = "SELECT id FROM checkouts WHERE state = 'PAYMENT_PENDING'";
        let (id,): (String,) = until("the purchase goes on", async || {
            Ok(home.rows("checkout", pending).await?.into_iter().next())
        })
        .await?;
        let said = refusal(&erase(&shop, &home, &["--yes"]).await?)?;
        ensure!(said.contains(&id) && said.contains("has not ended"), "{said}");
        Ok(())
    };
    let (bought, refused) = tokio::join!(buy(&ann, "a", "pm_card_ok"), refused);
    refused?;
    ensure!(bought?["status"] == "COMPLETED", "the purchase was disturbed");
    let erased = erase(&shop, &home, &["--yes"]).await?;
    ensure!(erased.status.success(), "{erased:?}");
    books::settle(&home).await?;
    books::balance(&home).await?;
    let mut places = places_of(ANN, &home).await?;
    // Kafka keeps it. From the log of an embedded shop it goes, however short before the erasure it was published.
    places.retain(|place| profile == Profile::Embedded || place != "bus.messages");
    assert_eq!(places, [""; 0]);
    shop.stop().await?;
    Ok(())
}

async fn a_customer_with_a_parked_event_is_erased_only_if_the_event_may_be_dropped(
    profile: Profile,
) -> Result<()> {
    let home = Home::new(profile).await?;
    let shop = ShopProcess::open(home.command(Path::new(BINARY))).await?;
    let ann = shop.customer(ANN)?;
    add(&ann, 1).await?;
    let bought = buy(&ann, "a", "pm_card_ok").await?;
    books::settle(&home).await?;
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
            Ok((!letters.list(CHECKOUTS.name, group).await?.is_empty()).then_some(()))
        })
        .await?;
    }
    let before = places_of(ANN, &home).await?;
    let parked = refusal(&erase(&shop, &home, &["--yes"]).await?)?;
    ensure!(parked.contains("is parked"), "{parked}");
    assert_eq!(places_of(ANN, &home).await?, before, "nothing was erased");
    let command = parked.split('`').nth(1).context("no command")?.to_owned();
    ensure!(command.starts_with("cartwright dlq redrive "), "{parked}");
    books::balance(&home).await?;

    // It will never be applied: whoever knows that lets it go.
    let erased = erase(&shop, &home, &["--yes", "--drop-parked"]).await?;
    ensure!(erased.status.success(), "{erased:?}");
    let mut places = places_of(ANN, &home).await?;
    places.retain(|place| place != "bus.messages");
    assert_eq!(places, [""; 0]);
    if profile == Profile::Embedded {
        assert!(rows_of(ANN, &home).await?.is_empty(), "its letters went, too");
    }
    books::balance(&home).await?;
    shop.stop().await?;
    Ok(())
}

async fn an_erasure_fails_while_a_service_is_down(profile: Profile) -> Result<()> {
    let home = Home::new(profile).await?;
    let mut shop = ShopProcess::open(home.command(Path::new(BINARY))).await?;
    let ann = shop.customer(ANN)?;
    add(&ann, 1).await?;
    buy(&ann, "a", "pm_card_ok").await?;
    add(&ann, 2).await?;
    books::settle(&home).await?;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let cart = shop.addresses.insert("cart".to_owned(), nobody).context("no cart")?;
    let said = refusal(&erase(&shop, &home, &["--yes"]).await?)?;
    ensure!(
        said.contains("cart did not answer") && said.contains("CART_SERVICE_ADDR"),
        "{said}"
    );
    shop.addresses.insert("cart".to_owned(), cart);
    let erased = erase(&shop, &home, &["--yes"]).await?;
    ensure!(
        erased.status.success() && printed(&erased).contains("1 cart removed"),
        "{erased:?}"
    );
    books::balance(&home).await?;
    shop.stop().await?;
    Ok(())
}

/// Erases a customer who has bought something, and who buys more for each key while the cart, the last thing, is erased.
async fn erase_while_shopping(home: &Home, shop: &mut ShopProcess, keys: Range<u32>) -> Result<Output> {
    let ann = shop.customer(ANN)?;
    add(&ann, 1).await?;
    buy(&ann, "before", "pm_card_ok").await?;
    books::settle(home).await?;
    let cart = *shop.addresses.get("cart").context("no cart")?;
    Shopper::accompany(ann, keys, cart, async |in_front| {
        shop.addresses.insert("cart".to_owned(), in_front);
        erase(shop, home, &["--yes"]).await
    })
    .await
}

async fn purchases_made_during_the_erasure_are_erased_too(profile: Profile) -> Result<()> {
    let home = Home::new(profile).await?;
    let mut shop = ShopProcess::open(home.command(Path::new(BINARY))).await?;
    let erased = erase_while_shopping(&home, &mut shop, 0..1).await?;
    ensure!(erased.status.success(), "{erased:?}");
    let made_nobodys = "checkout      2 checkouts made nobody's";
    ensure!(
        printed(&erased).lines().any(|line| line == made_nobodys),
        "one before, one meanwhile: {erased:?}"
    );
    books::settle(&home).await?;
    let mut places = places_of(ANN, &home).await?;
    places.retain(|place| place != "bus.messages");
    assert_eq!(places, [""; 0]);
    books::balance(&home).await?;
    shop.stop().await?;
    Ok(())
}

async fn an_erasure_fails_while_its_customer_goes_on_buying(profile: Profile) -> Result<()> {
    let home = Home::new(profile).await?;
    let mut shop = ShopProcess::open(home.command(Path::new(BINARY))).await?;
    let said = refusal(&erase_while_shopping(&home, &mut shop, 0..1000).await?)?;
    ensure!(
        said.contains("goes on shopping") && said.contains("erase this customer again"),
        "{said}"
    );
    books::settle(&home).await?;
    books::balance(&home).await?;
    shop.stop().await?;
    Ok(())
}
