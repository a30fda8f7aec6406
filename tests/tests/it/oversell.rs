//! The shop sells no more than its stock.

use std::collections::BTreeMap;

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use proto::inventory::v1::{Line, ReserveRequest};
use system_tests::{
    home::Profile,
    shops::{Shop, reason_of},
};
use tonic::Code;

on_every_profile! {
    five_hundred_customers_buy_a_hundred_laptops_and_no_more,
    two_lines_of_one_product_are_counted_together,
}

async fn five_hundred_customers_buy_a_hundred_laptops_and_no_more(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    let buyers = (0..500)
        .map(|n| shop.buyer(&format!("buyer-{n}")))
        .collect::<Result<Vec<_>>>()?;
    // Carts are filled with little concurrency: the race is for the stock.
    let filling = stream::iter(&buyers).map(|buyer| buyer.add(1, 1)).buffer_unordered(20);
    filling.try_collect::<Vec<_>>().await?;
    let outcomes = try_join_all(buyers.iter().map(|buyer| buyer.buy("the one", "pm_card_ok"))).await?;

    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    for outcome in &outcomes {
        let reason = outcome["failure"]["reason"].as_str().unwrap_or_default();
        *counted
            .entry(format!("{} {reason}", outcome["status"].as_str().unwrap_or_default()))
            .or_default() += 1;
    }
    let expected = [("COMPLETED ".to_owned(), 100), ("FAILED OUT_OF_STOCK".to_owned(), 400)];
    assert_eq!(counted, BTreeMap::from(expected));
    shop.wait_until_idle().await?;
    assert_eq!(shop.stock(1).await?, (0, 0));
    let orders: Vec<(i64,)> = shop.rows("orders", "SELECT count(*) FROM orders").await?;
    assert_eq!(orders, [(100,)]);
    let charges = "SELECT count(*), sum(amount) FROM charges WHERE outcome = 'SUCCEEDED'";
    let charges: Vec<(i64, i64)> = shop.rows("provider", charges).await?;
    assert_eq!(charges, [(100, 100 * 129_999)]);
    shop.balance().await
}

async fn two_lines_of_one_product_are_counted_together(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    let mut inventory = shop.inventory()?;
    let reserve = |n, lines: &[(i64, i64)]| ReserveRequest {
        checkout_id: uuid::Uuid::from_u128(n).to_string(),
        lines: lines
            .iter()
            .map(|&(product_id, quantity)| Line { product_id, quantity })
            .collect(),
    };
    let short = inventory
        .reserve(reserve(1, &[(1, 60), (2, 1), (1, 41)]))
        .await
        .unwrap_err();
    assert_eq!(
        reason_of(&short)?,
        (Code::FailedPrecondition, "OUT_OF_STOCK".to_owned())
    );
    let shortages = proto::status::metadata(&short, "shortages").unwrap_or_default();
    let shortages: serde_json::Value = serde_json::from_str(&shortages)?;
    assert_eq!(
        shortages,
        serde_json::json!([{"product_id": 1, "requested": 101, "available": 100}])
    );
    assert_eq!((shop.stock(1).await?, shop.stock(2).await?), ((100, 0), (500, 0)));

    inventory.reserve(reserve(2, &[(1, 60), (2, 1), (1, 40)])).await?;
    assert_eq!((shop.stock(1).await?, shop.stock(2).await?), ((100, 100), (500, 1)));
    let short = inventory.reserve(reserve(3, &[(2, 1), (1, 1)])).await.unwrap_err();
    assert_eq!(reason_of(&short)?.1, "OUT_OF_STOCK");
    assert_eq!(shop.stock(2).await?, (500, 1));
    Ok(())
}
