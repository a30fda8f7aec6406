//! Anonymous readers of the catalogue do not disturb customers who buy.

use anyhow::{Result, ensure};
use cartwright::http::Customer;
use futures::future::join_all;
use http::{Method, StatusCode, header::RETRY_AFTER};
use system_tests::{
    home::{Home, Profile},
    process::ShopProcess,
    shopping::buy_mouse,
};
use tokio::sync::watch;

use crate::BINARY;

const READERS: usize = 40;
const PURCHASES: usize = 5;

/// Makes two columns endless to compute: the text for searches, and the description of product 1, which is on the first
/// page. Reading another product by its id computes neither.
const HOLD_SQLITE: &str = "
    ALTER TABLE products RENAME TO kept;
    CREATE VIEW products AS SELECT id, name,
        CASE id WHEN 1 THEN (WITH RECURSIVE n(x) AS (SELECT kept.id UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n)
            ELSE description END AS description, price_minor_units, currency, image_url, search_text, created_at,
        (WITH RECURSIVE n(x) AS (SELECT kept.id UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n) AS search_marked
    FROM kept;";
const HOLD_POSTGRES: &str = "
    CREATE FUNCTION hold(bigint) RETURNS text STABLE LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_sleep(3600); RETURN ''; END $$;
    ALTER TABLE products RENAME TO kept;
    CREATE VIEW products AS SELECT id, name, CASE id WHEN 1 THEN hold(id) ELSE description END AS description,
        price_minor_units, currency, image_url, search_text, created_at, hold(id) AS search_marked FROM kept;";

on_every_profile! {
    searches_that_use_all_their_permits_keep_nobody_from_buying,
    pages_that_use_all_their_permits_keep_nobody_from_buying,
}

async fn searches_that_use_all_their_permits_keep_nobody_from_buying(profile: Profile) -> Result<()> {
    check_purchases_beside(profile, "/api/v1/products?q=lamp").await
}

async fn pages_that_use_all_their_permits_keep_nobody_from_buying(profile: Profile) -> Result<()> {
    check_purchases_beside(profile, "/api/v1/products").await
}

async fn check_purchases_beside(profile: Profile, page: &'static str) -> Result<()> {
    let home = Home::new(profile).await?;
    let shop = ShopProcess::open(home.command(BINARY)).await?;
    let customer = shop.customer("1")?;
    let found = customer.call(Method::GET, "/api/v1/products?q=lap", None).await?;
    ensure!(found.json()["products"][0]["name"] == "Laptop", "{found:?}");
    let hold = match profile {
        Profile::Embedded => HOLD_SQLITE,
        Profile::Engines => HOLD_POSTGRES,
    };
    home.execute("product", hold).await?;
    let anonymous = Customer {
        token: None,
        ..customer.clone()
    };
    // The number of refused readers so far.
    let (turned_away, seen) = watch::channel(0);
    let readers = join_all((0..READERS).map(|_| read_on(&anonymous, page, &turned_away)));
    let buyer = async {
        let mut seen = seen;
        for n in 0..PURCHASES {
            // All permits are in use: other readers have been refused since the last purchase.
            let so_far = *seen.borrow_and_update();
            seen.wait_for(|count| *count > so_far).await?;
            buy(&customer, n).await?;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        ended = readers => ensure!(false, "{ended:?}"),
        bought = buyer => bought?,
    }
    Ok(())
}

/// Asks for a page repeatedly. Every request is refused with `Retry-After`.
async fn read_on(anonymous: &Customer, page: &str, turned_away: &watch::Sender<usize>) -> Result<()> {
    loop {
        let reply = anonymous.call(Method::GET, page, None).await?;
        let is_busy = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(&reply.status);
        ensure!(is_busy && reply.headers.contains_key(RETRY_AFTER), "{reply:?}");
        turned_away.send_modify(|count| *count += 1);
    }
}

async fn buy(customer: &Customer, n: usize) -> Result<()> {
    let shown = customer.call(Method::GET, "/api/v1/products/2", None).await?;
    ensure!(shown.status == StatusCode::OK, "{shown:?}");
    buy_mouse(customer, &format!("key {n}")).await.map(drop)
}
