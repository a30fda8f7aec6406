//! Stores of earlier versions: purchases that began there end correctly.

use std::{collections::BTreeMap, fs::Permissions, os::unix::fs::PermissionsExt, path::Path};

use anyhow::{Result, ensure};
use cartwright::http::Customer;
use futures::future::try_join_all;
use http::StatusCode;
use serde_json::{Value, json};
use system_tests::{
    books,
    home::{Home, Profile},
    process::ShopProcess,
    shops::wait_for,
};

use crate::BINARY;

/// A customer, the pieces in their cart, and whether their purchase may still fail.
type Buyer = (&'static str, i64, bool);

const BEFORE_HOLDS: &[Buyer] = &[
    ("initiated", 1, false),
    ("reserved", 1, false),
    ("pending", 1, false),
    ("charged", 1, false),
    ("paid", 1, false),
    ("completed", 1, false),
    ("unread", 1, false),
    ("refunding", 99, false),
    ("declined", 1, true),
    ("releasing", 1, true),
    // The reservation expired, and `refunding` has bought the stock.
    ("ahead", 99, true),
];

const BEFORE_ENGINE: &[Buyer] = &[
    ("initiated", 1, false),
    ("reserving", 1, false),
    ("reserved", 1, false),
    ("holding", 1, false),
    ("pending", 1, false),
    ("charging", 1, false),
    ("charged", 1, false),
    ("paid", 1, false),
    ("confirming", 1, false),
    ("completed", 1, false),
    ("first", 1, false),
    ("ahead", 99, false),
    ("declined", 1, true),
    ("giving_back", 1, true),
    ("releasing", 1, true),
    ("failed", 1, true),
    // The reservation expired during the payment, and `ahead` has bought the stock.
    ("refunding", 99, true),
    // Has bought nothing.
    ("second", 1, true),
];

/// The reservations that were not confirmed before the upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reservations {
    /// Expired long ago, as stored.
    Expired,
    /// Their time to live is moved to now, too.
    Live,
}

/// Starts a shop on a copy of these stores.
async fn open(stores: &str, reservations: Reservations) -> Result<(Home, ShopProcess)> {
    let home = Home::new(Profile::Embedded).await?;
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(stores);
    for entry in std::fs::read_dir(fixture)? {
        let entry = entry?;
        let copy = home.folder().join(entry.file_name());
        std::fs::copy(entry.path(), &copy)?;
        // The shop refuses a key that others may read.
        std::fs::set_permissions(&copy, Permissions::from_mode(0o600))?;
    }
    // Moves the stored times to now, as if the upgrade came at once.
    home.execute("checkout", "UPDATE checkouts SET updated_at = unixepoch() * 1000")
        .await?;
    if reservations == Reservations::Live {
        let extend = "UPDATE reservations SET expires_at = (unixepoch() + 3600) * 1000 WHERE state = 'HELD'";
        home.execute("inventory", extend).await?;
    }
    let shop = ShopProcess::open(home.command(BINARY)).await?;
    Ok((home, shop))
}

/// Retries with one key until the purchase has ended or is refused.
async fn buy(customer: &Customer, key: &str) -> Result<(StatusCode, Value)> {
    wait_for("there is an answer", async || {
        let reply = customer
            .post("/api/v1/checkout", &json!({"idempotency_key": key}))
            .await?;
        let is_open = matches!(reply.status, StatusCode::ACCEPTED | StatusCode::SERVICE_UNAVAILABLE);
        Ok((!is_open).then(|| (reply.status, reply.json())))
    })
    .await
}

/// The pieces of a cart that no checkout holds.
fn pieces_of(cart: &Value) -> i64 {
    let items = cart["items"].as_array().into_iter().flatten();
    items.filter_map(|item| item["quantity"].as_i64()).sum()
}

/// Checks the idle shop: customers for whom `bought` is true have ordered all pieces of their cart, others none.
async fn check(
    (home, shop): (&Home, &ShopProcess),
    buyers: &[Buyer],
    bought: impl Fn(&str, bool) -> bool,
) -> Result<()> {
    books::wait_until_idle(home).await?;
    let sql = "SELECT o.user_id, sum(l.quantity) FROM orders o JOIN order_lines l ON l.order_id = o.id GROUP BY 1";
    let ordered: Vec<(String, i64)> = home.rows("orders", sql).await?;
    let ordered: BTreeMap<_, _> = ordered.into_iter().collect();
    for &(name, pieces, may_be_refused) in buyers {
        let cart = shop.customer(name)?.get("/api/v1/cart").await?.json();
        let left = pieces_of(&cart);
        let expected = if bought(name, may_be_refused) {
            (pieces, 0)
        } else {
            (0, pieces)
        };
        let found = (ordered.get(name).copied().unwrap_or_default(), left);
        ensure!(
            found == expected,
            "{name} has ordered and left {found:?}, not {expected:?}: {cart}"
        );
        ensure!(cart["in_checkout"] == json!([]), "{name}: {cart}");
    }
    books::balance(home).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purchases_begun_before_carts_had_holds_end_correctly() -> Result<()> {
    for stores in ["before_holds/unpublished", "before_holds/unread"] {
        let (home, shop) = open(stores, Reservations::Expired).await?;
        check((&home, &shop), BEFORE_HOLDS, |_, may_be_refused| !may_be_refused).await?;
        let (status, stderr) = shop.stop().await?;
        ensure!(status.success(), "{status}: {stderr}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purchases_begun_before_the_saga_engine_end_correctly() -> Result<()> {
    for stores in ["before_engine/unpublished", "before_engine/unread"] {
        for reservations in [Reservations::Live, Reservations::Expired] {
            let (home, shop) = open(stores, reservations).await?;
            check((&home, &shop), BEFORE_ENGINE, |_, may_be_refused| !may_be_refused).await?;
            let (status, stderr) = shop.stop().await?;
            ensure!(status.success(), "{status}: {stderr}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purchases_begun_before_carts_had_holds_are_not_repeated_during_the_upgrade() -> Result<()> {
    for stores in ["before_holds/unpublished", "before_holds/unread"] {
        let (home, shop) = open(stores, Reservations::Expired).await?;
        let again = BEFORE_HOLDS.iter().map(|(name, ..)| {
            let customer = shop.customer(name);
            async move { anyhow::Ok((name, buy(&customer?, "again").await?)) }
        });
        for (name, (status, answer)) in try_join_all(again).await? {
            let reason = answer["reason"].as_str().unwrap_or_default();
            let is_refused = matches!(reason, "CHECKOUT_IN_PROGRESS" | "CART_EMPTY");
            ensure!(is_refused || status == StatusCode::CREATED, "{name}: {answer}");
        }
        // One of two purchases of the same pieces gets them: either one, unless the first had held them.
        let ended: Vec<(String, i64)> = {
            let sql = "SELECT user_id, count(*) FROM checkouts WHERE state = 'COMPLETED' GROUP BY 1";
            books::wait_until_idle(&home).await?;
            home.rows("checkout", sql).await?
        };
        ensure!(ended.iter().all(|(_, completed)| *completed == 1), "{ended:?}");
        let has_bought = |name: &str| ended.iter().any(|(other, _)| other == name);
        check((&home, &shop), BEFORE_HOLDS, |name, may_be_refused| {
            !may_be_refused || has_bought(name)
        })
        .await?;
        shop.stop().await?;
    }
    Ok(())
}
