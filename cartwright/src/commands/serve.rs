//! `cartwright serve`: the shop, until it is told to stop.

use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, say};
use crate::{Config, Hooks, ServiceName, Shop, banner::banner, settings::Settings};

pub(super) async fn run(services: &[ServiceName], settings: Settings) -> Result<(), Failure> {
    let config = Config::new(services, settings)?;
    // Taken before anything starts, so that an early signal stops it in order, too.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let hooks = Hooks::default();
    let (clock, ids) = (hooks.runtime.clock.clone(), hooks.runtime.ids.clone());
    let shop = Shop::start(&config, hooks).await?;
    // With nobody reading, the shop is open all the same.
    let _ = say(&banner(&config, &shop, &clock, &ids)?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("stopping: requests in flight are finished first");
    shop.stop().await;
    Ok(())
}
