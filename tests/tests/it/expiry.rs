//! Reservations expire, and sold stock stays sold.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use cartwright::settings::Settings;
use futures::future::try_join_all;
use jiff::SignedDuration;
use proto::{
    convert::from_timestamp,
    inventory::v1::{ConfirmRequest, Line, ReserveRequest},
};
use runtime::{Fault, config::Span};
use system_tests::{
    home::Profile,
    shops::{FaultPlan, Shop, reason_of, until},
};
use tonic::Code;
use uuid::Uuid;

on_every_profile! {
    an_unconfirmed_reservation_expires_and_releases_its_stock,
    a_confirmation_that_races_with_expiry_has_one_winner,
    a_paid_purchase_whose_stock_was_sold_to_another_is_refunded,
    an_expired_reservation_is_still_confirmed_while_there_is_stock,
    sold_stock_stays_sold_after_expiry_and_after_a_restart,
}

const TTL: Duration = Duration::from_millis(300);

fn short_reservations(settings: &mut Settings) {
    settings.reservation_ttl = Span(TTL);
}

fn reserve(id: Uuid, product_id: i64, quantity: i64) -> ReserveRequest {
    ReserveRequest {
        checkout_id: id.to_string(),
        lines: vec![Line { product_id, quantity }],
    }
}

fn confirm(id: Uuid) -> ConfirmRequest {
    ConfirmRequest {
        checkout_id: id.to_string(),
    }
}

async fn an_unconfirmed_reservation_expires_and_releases_its_stock(profile: Profile) -> Result<()> {
    let shop = Shop::with_settings(profile, short_reservations).await?;
    let mut inventory = shop.inventory()?;
    let began = shop.clock().now();
    let held = inventory
        .reserve(reserve(Uuid::from_u128(1), 1, 100))
        .await?
        .into_inner();
    let expires_at = from_timestamp(held.expires_at.as_ref()).context("a reservation without an end")?;
    // The store's clock has milliseconds and may be rounded down.
    let ttl = SignedDuration::try_from(TTL)? - SignedDuration::from_millis(2);
    assert!(
        expires_at.duration_since(began) >= ttl,
        "reserved until {expires_at}, asked at {began}"
    );
    until("the stock is back", async || Ok(shop.stock(1).await? == (100, 0))).await?;
    assert!(shop.clock().now() >= expires_at, "the reservation was cut short");
    // Another checkout gets the stock, and the late confirmation is refused.
    inventory.reserve(reserve(Uuid::from_u128(2), 1, 100)).await?;
    inventory.confirm(confirm(Uuid::from_u128(2))).await?;
    let late = inventory.confirm(confirm(Uuid::from_u128(1))).await.unwrap_err();
    assert_eq!(
        reason_of(&late)?,
        (Code::FailedPrecondition, "RESERVATION_EXPIRED".to_owned())
    );
    assert_eq!(shop.stock(1).await?, (0, 0));
    Ok(())
}

/// Each of 50 pieces is reserved and confirmed around its expiry, while others want it.
async fn a_confirmation_that_races_with_expiry_has_one_winner(profile: Profile) -> Result<()> {
    const PIECES: u32 = 50;
    let shop = Shop::with_settings(profile, short_reservations).await?;
    let inventory = shop.inventory()?;
    let product = 40;
    shop.add_stock(product, PIECES.into()).await?;
    let held = try_join_all((0..PIECES).map(|n| {
        let mut inventory = inventory.clone();
        async move { inventory.reserve(reserve(Uuid::from_u128(n.into()), product, 1)).await }
    }))
    .await?;
    let ends = held
        .into_iter()
        .map(|held| from_timestamp(held.into_inner().expires_at.as_ref()));
    let ends = ends
        .collect::<Option<Vec<_>>>()
        .context("a reservation without an end")?;
    let confirmed = (0..PIECES).zip(ends).map(|(n, end)| {
        let (mut inventory, clock) = (inventory.clone(), shop.clock());
        async move {
            // From 40 ms before the deadline to 60 ms after it.
            let moment = end + SignedDuration::from_millis(i64::from(n) * 2 - 40);
            let pause = Duration::try_from(moment.duration_since(clock.now())).unwrap_or_default();
            tokio::time::sleep(pause).await;
            outcome(inventory.confirm(confirm(Uuid::from_u128(n.into()))).await)
        }
    });
    let rivals = (0..PIECES).map(|n| {
        let (mut inventory, id) = (inventory.clone(), Uuid::from_u128(1_000 + u128::from(n)));
        async move {
            tokio::time::sleep(TTL + Duration::from_millis(u64::from(n))).await;
            let held = outcome(inventory.reserve(reserve(id, product, 1)).await)?;
            if held {
                outcome(inventory.confirm(confirm(id)).await)
            } else {
                Ok(false)
            }
        }
    });
    let (confirmed, rivals) = tokio::try_join!(try_join_all(confirmed), try_join_all(rivals))?;
    let won = |of: &[bool]| of.iter().filter(|won| **won).count();
    let (first, others) = (won(&confirmed), won(&rivals));
    until("nothing is reserved any more", async || {
        Ok(shop.stock(product).await?.1 == 0)
    })
    .await?;

    let left = i64::from(PIECES) - i64::try_from(first + others)?;
    assert_eq!(
        shop.stock(product).await?,
        (left, 0),
        "{first} in time, {others} others"
    );
    let sold = "SELECT count(*) FROM reservations WHERE state = 'CONFIRMED'";
    let sold: Vec<(i64,)> = shop.rows("inventory", sold).await?;
    assert_eq!(sold, [(i64::try_from(first + others)?,)]);
    let ledger = format!("SELECT sum(on_hand_delta), sum(held_delta) FROM ledger WHERE product_id = {product}");
    let ledger: Vec<(i64, i64)> = shop.rows("inventory", ledger).await?;
    assert_eq!(ledger, [(left, 0)]);
    Ok(())
}

/// Whether the call succeeded; a refusal must be for lack of the stock.
fn outcome<T>(answer: Result<tonic::Response<T>, tonic::Status>) -> Result<bool> {
    match answer {
        Ok(_) => Ok(true),
        Err(status) => {
            let (_, reason) = reason_of(&status)?;
            assert!(
                ["RESERVATION_EXPIRED", "OUT_OF_STOCK"].contains(&reason.as_str()),
                "{status:?}"
            );
            Ok(false)
        }
    }
}

async fn a_paid_purchase_whose_stock_was_sold_to_another_is_refunded(profile: Profile) -> Result<()> {
    let mut plan = FaultPlan::default();
    plan.add("slow", "inventory.Confirm", Fault::NeverArrives, u32::MAX);
    let plan = Arc::new(plan);
    let shop = Shop::with(profile, short_reservations, plan.faults()).await?;
    let (slow, quick) = (shop.buyer("slow")?.with_request_id("slow"), shop.buyer("quick")?);
    slow.add(1, 60).await?;
    quick.add(1, 60).await?;
    let rival = async {
        until("the slow one has paid", async || {
            Ok(plan.count("slow", "inventory.Confirm") > 0)
        })
        .await?;
        until("the reservation has expired", async || Ok(shop.stock(1).await?.1 == 0)).await?;
        let outcome = quick.buy("key", "pm_card_ok").await?;
        plan.clear("slow", "inventory.Confirm");
        Ok(outcome)
    };
    let (refunded, bought) = tokio::try_join!(slow.buy("key", "pm_card_ok"), rival)?;
    assert_eq!(bought["status"], "COMPLETED", "{bought}");
    assert_eq!(
        (&refunded["status"], &refunded["failure"]["reason"]),
        (&"FAILED".into(), &"RESERVATION_EXPIRED".into())
    );
    assert_eq!(slow.read("/api/v1/cart").await?["items"][0]["quantity"], 60);
    shop.wait_until_idle().await?;
    let refunds: Vec<(String,)> = shop.rows("provider", "SELECT idempotency_key FROM refunds").await?;
    assert_eq!(
        refunds,
        [(refunded["checkout_id"].as_str().unwrap_or_default().to_owned(),)]
    );
    assert_eq!(shop.stock(1).await?, (40, 0));
    shop.balance().await
}

async fn an_expired_reservation_is_still_confirmed_while_there_is_stock(profile: Profile) -> Result<()> {
    let mut plan = FaultPlan::default();
    plan.add("slow", "inventory.Confirm", Fault::NeverArrives, u32::MAX);
    let plan = Arc::new(plan);
    let shop = Shop::with(profile, short_reservations, plan.faults()).await?;
    let slow = shop.buyer("slow")?.with_request_id("slow");
    slow.add(1, 60).await?;
    let release = async {
        until("it has paid", async || Ok(plan.count("slow", "inventory.Confirm") > 0)).await?;
        until("the reservation has expired", async || Ok(shop.stock(1).await?.1 == 0)).await?;
        plan.clear("slow", "inventory.Confirm");
        Ok(())
    };
    let (bought, ()) = tokio::try_join!(slow.buy("key", "pm_card_ok"), release)?;
    assert_eq!(bought["status"], "COMPLETED", "{bought}");
    assert_eq!(shop.stock(1).await?, (40, 0));
    shop.balance().await
}

async fn sold_stock_stays_sold_after_expiry_and_after_a_restart(profile: Profile) -> Result<()> {
    let mut shop = Shop::with_settings(profile, short_reservations).await?;
    let bought = shop.buyer("ada")?.buy_one(1, 30, "key", "pm_card_ok").await?;
    assert_eq!(bought["status"], "COMPLETED");
    // This reservation begins later and expires; by then the time to live of the confirmed one is over, too.
    shop.inventory()?.reserve(reserve(Uuid::from_u128(1), 1, 70)).await?;
    until("the later reservation has expired", async || {
        Ok(shop.stock(1).await?.1 == 0)
    })
    .await?;
    assert_eq!(shop.stock(1).await?, (70, 0));
    shop.wait_until_idle().await?;
    shop.stop().await;
    shop.start().await?;
    assert_eq!(shop.stock(1).await?, (70, 0));
    let short = shop
        .inventory()?
        .reserve(reserve(Uuid::from_u128(2), 1, 71))
        .await
        .unwrap_err();
    assert_eq!(reason_of(&short)?.1, "OUT_OF_STOCK");
    shop.inventory()?.reserve(reserve(Uuid::from_u128(3), 1, 70)).await?;
    until("the last reservation has expired", async || {
        Ok(shop.stock(1).await? == (70, 0))
    })
    .await?;
    shop.balance().await
}
