//! Prepared, closed shops.

use anyhow::ensure;
use system_tests::{
    home::{Home, Profile},
    process::ShopProcess,
};

use super::{customers::Customers, scenario::Scenario};

/// Prepares the data of a scenario; its shop is stopped.
pub(super) async fn prepare(profile: Profile, scenario: &dyn Scenario) -> anyhow::Result<Home> {
    let home = Home::new(profile).await?;
    let shop = ShopProcess::open(scenario.command(&home)).await?;
    scenario.prepare(&Customers::of(&shop, &home)?).await?;
    let (status, stderr) = shop.stop().await?;
    ensure!(status.success(), "{status}: {stderr}");
    scenario.while_closed(&home).await?;
    Ok(home)
}
