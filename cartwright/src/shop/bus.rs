//! The event bus of this process.

mod signing;

use std::sync::Arc;

use events::{EventBus, KafkaBus, KafkaOptions, SqliteBus};
use runtime::{Points, Probe, Runtime, Tasks};
use storage::OpenError;

use crate::{Config, ServiceName, settings::Settings};

/// Shown in Kafka's logs.
const CLIENT_ID: &str = "cartwright";

/// The bus that all services of this process share.
pub(super) struct Bus {
    shared: Arc<dyn EventBus>,
    engine: &'static str,
    /// Transactions of the embedded log, whose callers may have gone away. None on Kafka.
    pub(super) transactions: Tasks,
}

impl Bus {
    pub(super) fn shared(&self) -> Arc<dyn EventBus> {
        self.shared.clone()
    }

    /// Whether the bus answers, and whether this service's group makes progress. Optional for readiness: without the
    /// bus, purchases go on and their events wait in the outbox.
    pub(super) fn probes(&self, service: ServiceName) -> Vec<Probe> {
        let bus = self.shared.clone();
        let answers = Probe::new(self.engine, move || {
            let bus = bus.clone();
            async move { bus.is_up().await }
        });
        let progress = service.groups().iter().copied().map(|group| {
            let bus = self.shared.clone();
            Probe::new(format!("group {group}"), move || {
                let is_progressing = !bus.stalled().contains(group);
                async move { is_progressing }
            })
        });
        std::iter::once(answers).chain(progress).map(Probe::optional).collect()
    }
}

/// Opens the bus if a service of this process uses events.
pub(super) async fn open(config: &Config, runtime: &Runtime) -> Result<Option<Bus>, OpenError> {
    if !config.services.iter().any(|service| service.uses_events()) {
        return Ok(None);
    }
    let settings = &config.settings;
    let retention = settings.event_retention.0;
    let (bus, engine, transactions): (Arc<dyn EventBus>, _, _) = if settings.engines.kafka().is_some() {
        let bus = kafka(settings).await?.with_retention(retention);
        (Arc::new(bus), "kafka", Tasks::new())
    } else {
        let bus = SqliteBus::open(&settings.file("bus"), &runtime.points).await?;
        let bus = signing::embedded(bus, settings).await?.with_retention(retention);
        let transactions = bus.transactions();
        (Arc::new(bus), "event-bus", transactions)
    };
    if !bus.signatures().are_enabled() {
        tracing::warn!(
            "EVENT_SIGNING_KEY is not set: events are neither signed nor checked, and anybody who can write to Kafka can make orders"
        );
    }
    Ok(Some(Bus {
        shared: bus,
        engine,
        transactions,
    }))
}

/// Opens the bus for a command. Creates no key.
pub(crate) async fn connect(settings: &Settings) -> Result<Arc<dyn EventBus>, OpenError> {
    if settings.engines.kafka().is_some() {
        return Ok(Arc::new(kafka(settings).await?));
    }
    let bus = SqliteBus::open(&settings.file("bus"), &Points::none()).await?;
    Ok(Arc::new(signing::for_command(bus, settings)?))
}

async fn kafka(settings: &Settings) -> Result<KafkaBus, OpenError> {
    let (variable, brokers) = settings.engines.kafka().unwrap_or_default();
    let link = settings.engines.kafka_security.link();
    let options = KafkaOptions {
        variable,
        prefix: settings.engines.namespace().to_owned(),
        client_id: CLIENT_ID.to_owned(),
        link: link.map_err(|error| OpenError::Engine {
            variable: error.variable,
            problem: error.wants,
        })?,
        ..KafkaOptions::at(brokers)
    };
    Ok(KafkaBus::open(options)
        .await?
        .with_signatures(signing::on_kafka(settings)?))
}
