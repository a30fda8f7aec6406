//! `cartwright serve`: the shop, until it is told to stop.

mod signals;

use runtime::telemetry::{Log, stdout};

use super::Failure;
use crate::{Config, Hooks, ServiceName, Shop, banner::banner, settings::Settings};
use signals::Signals;

pub(super) async fn run(services: &[ServiceName], settings: Settings, log: &Log) -> Result<(), Failure> {
    let config = Config::new(services, settings)?;
    // Taken before anything starts, so that a signal that comes during the start stops the shop in order once it is open.
    let signals = Signals::take(config.settings.shutdown_timeout.0, log.clone())?;
    if let Some(warning) = config.settings.hooks.warning() {
        tracing::warn!("{warning}");
    }
    let hooks = Hooks::default();
    let (clock, ids) = (hooks.runtime.clock.clone(), hooks.runtime.ids.clone());
    let shop = Shop::start(&config, hooks).await?;
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    // With nobody reading, the shop is open all the same.
    let out = stdout();
    out.say(format!("{}\n", banner(&config, &shop, &clock, &ids)?).into_bytes());
    signals.first().await;
    tracing::info!("stopping: requests in flight are finished first");
    shop.stop().await;
    Ok(())
}
