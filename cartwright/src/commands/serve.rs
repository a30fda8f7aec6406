//! `cartwright serve`: the shop, until it is told to stop.

mod signals;

use runtime::telemetry::{Log, stdout};

use super::CommandResult;
use crate::{Config, Overrides, ServiceName, Shop, banner::banner, settings::Settings};
use signals::Signals;

pub(super) async fn run(services: &[ServiceName], settings: Settings, log: &Log) -> CommandResult {
    let config = Config::new(services, settings)?;
    // Registered before the start, so that a signal during the start leads to an orderly stop once the shop is open.
    let signals = Signals::register(config.settings.shutdown_timeout.0, log.clone())?;
    if let Some(warning) = config.settings.hooks.warning() {
        tracing::warn!("{warning}");
    }
    let overrides = Overrides::default();
    let (clock, ids) = (overrides.runtime.clock.clone(), overrides.runtime.ids.clone());
    let shop = Shop::start(&config, overrides).await?;
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    // Does not block: the shop is open even if nobody reads its output.
    let out = stdout();
    out.write_line(format!("{}\n", banner(&config, &shop, &clock, &ids)?).into_bytes());
    signals.first().await;
    tracing::info!("stopping: requests in flight are finished first");
    shop.stop().await;
    Ok(())
}
