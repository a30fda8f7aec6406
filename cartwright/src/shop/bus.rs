//! The event bus of this process.

use std::sync::Arc;

use events::{EventBus, KafkaBus, KafkaOptions, SqliteBus};
use proto::events::{CHECKOUT_PARTITIONS, CHECKOUT_TOPIC, GROUPS};
use runtime::{CrashPoints, Probe, Runtime, telemetry::chain};
use storage::OpenError;

use crate::{Config, settings::Settings};

/// How this program is called in Kafka's logs.
const CLIENT_ID: &str = "cartwright";

/// The bus that all services of this process share.
pub(super) struct Bus {
    bus: Arc<dyn EventBus>,
    engine: &'static str,
}

impl Bus {
    pub(super) fn shared(&self) -> Arc<dyn EventBus> {
        self.bus.clone()
    }

    /// What Kafka carries can wait: while it is away, purchases go on and their events stay in the outbox.
    pub(super) fn probe(&self) -> Probe {
        let bus = self.bus.clone();
        let probe = Probe::new(self.engine, move || {
            let bus = bus.clone();
            async move { bus.is_up().await }
        });
        probe.optional()
    }
}

/// Opens the bus, with its topics, when a service of this process needs one.
pub(super) async fn open(config: &Config, runtime: &Runtime) -> Result<Option<Bus>, OpenError> {
    if !config.services.iter().any(|service| service.uses_events()) {
        return Ok(None);
    }
    let bus = connect(&config.settings, &runtime.crash).await?;
    let engine = match config.settings.engines.kafka() {
        Some(_) => "kafka",
        None => "event-bus",
    };
    let dead_letters = GROUPS.map(|group| events::dead_letter_topic(CHECKOUT_TOPIC, group));
    let topics = dead_letters.iter().map(|topic| (topic.as_str(), 1));
    for (topic, partitions) in topics.chain([(CHECKOUT_TOPIC, CHECKOUT_PARTITIONS)]) {
        let made = bus.ensure_topic(topic, partitions).await;
        made.map_err(|error| OpenError::Engine {
            variable: config
                .settings
                .engines
                .kafka()
                .map_or("DATA_DIR", |(variable, _)| variable),
            problem: format!("topic {topic} cannot be used: {}", chain(&error)),
        })?;
    }
    Ok(Some(Bus { bus, engine }))
}

/// The bus alone, as it is.
pub(crate) async fn connect(settings: &Settings, crash: &CrashPoints) -> Result<Arc<dyn EventBus>, OpenError> {
    Ok(match settings.engines.kafka() {
        Some((variable, brokers)) => {
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
            Arc::new(KafkaBus::open(options).await?)
        }
        None => Arc::new(SqliteBus::open(&settings.file("bus"), crash).await?),
    })
}
