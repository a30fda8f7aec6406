//! Closed shops in which everything is ready for a scenario.

use anyhow::ensure;
use system_tests::{
    home::{Home, Profile},
    process::ShopProcess,
};

use super::{people::People, scenario::Scenario};

/// The home of a shop that was closed, or whose process is gone.
pub(super) async fn prepare(profile: Profile, scenario: &dyn Scenario) -> anyhow::Result<Home> {
    let home = Home::new(profile).await?;
    let shop = ShopProcess::open(scenario.command(&home)).await?;
    scenario.prepare(&People::of(&shop, &home)?).await?;
    let (status, said) = shop.stop().await?;
    ensure!(status.success(), "{status}: {said}");
    scenario.while_closed(&home).await?;
    Ok(home)
}
