//! The configuration of clients, and the log of librdkafka.

use std::{
    fmt::Display,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode},
};
use runtime::deadlines::{EVENT_DELIVERY, GROUP_SESSION};

use super::{KafkaOptions, link::Refusal};

/// The timeout of a request to the broker.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);
/// The largest message: key, headers and value. Carts and orders stay far below it.
const MAX_MESSAGE_BYTES: &str = "4194304";
/// The limit of the broker, which measures batches: a message and the batch header around it.
pub(super) const MAX_BATCH_BYTES: &str = "4259840";

/// The settings and the log that all clients of one bus share.
#[derive(Clone)]
pub(super) struct Settings {
    options: Arc<KafkaOptions>,
    log: Log,
}

impl Settings {
    pub(super) fn new(options: KafkaOptions) -> Self {
        Self {
            options: Arc::new(options),
            log: Log::default(),
        }
    }

    /// The name of a topic or a group on the wire.
    pub(super) fn on_wire(&self, name: &str) -> String {
        format!("{}{name}", self.options.prefix)
    }

    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    /// The settings of every client.
    pub(super) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.options.brokers.trim())
            .set("client.id", &self.options.client_id)
            // Without a level here, rdkafka asks the `log` crate, which has no logger in this process.
            .set_log_level(RDKafkaLogLevel::Info)
            // A topic created by the broker would have the broker's default number of partitions.
            .set("allow.auto.create.topics", "false")
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.connection.setup.timeout.ms", "5000")
            // The timeout of a broker that hangs.
            .set("socket.timeout.ms", "10000")
            .set("socket.keepalive.enable", "true")
            .set("topic.metadata.refresh.interval.ms", "30000");
        self.options.link.set(&mut config);
        config
    }

    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // With more, librdkafka confirms messages that were lost: if the first request to a partition is refused
            // because its leader is not ready, and the second one succeeds, librdkafka reports success for both.
            .set("max.in.flight.requests.per.connection", "1")
            // The partitioner of Java clients, so that all clients agree on the partition of a key.
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "0")
            .set("message.max.bytes", MAX_MESSAGE_BYTES)
            .set("message.timeout.ms", millis(EVENT_DELIVERY))
            .set("request.timeout.ms", "5000")
            // `ensure_topic` has waited for the topic, so a topic that is missing now will not appear soon.
            .set("topic.metadata.propagation.max.ms", "2000");
        config
    }

    /// A consumer that commits no offsets by itself.
    pub(super) fn consumer(&self, group: &str) -> ClientConfig {
        let mut config = self.client();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            // Detects records that were damaged on the network or on the broker's disk.
            .set("check.crcs", "true");
        config
    }

    /// A member of a consumer group.
    pub(super) fn member(&self, group: &str) -> ClientConfig {
        // Static membership (`group.instance.id`) would let a restarted member rejoin without waiting for the session
        // timeout, but librdkafka 2.12 does not close such members reliably.
        let session = GROUP_SESSION.min(self.options.max_work);
        let mut config = self.consumer(group);
        config
            // With range or round robin all members stop at each rebalance, and wait for the slowest one. With this
            // strategy only the partitions pause that move.
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", millis(session))
            // How soon a member learns of a rebalance.
            .set("heartbeat.interval.ms", millis(session / 10))
            .set("max.poll.interval.ms", millis(self.options.max_work))
            // Ends the subscription as soon as its topic is deleted. Otherwise it would continue at the old offsets in
            // a new topic of the same name.
            .set("topic.metadata.propagation.max.ms", "0");
        config
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// Forwards librdkafka's log to `tracing`. While a broker is down, each client logs errors without end: one of them is
/// a warning every 30 s, and the others are debug output.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<LastError>>);

#[derive(Default)]
struct LastError {
    message: Option<(String, Instant)>,
    /// The last refusal by a broker, or by TLS.
    refusal: Option<Refusal>,
    warned_at: Option<Instant>,
}

impl Log {
    const WARN_INTERVAL: Duration = Duration::from_secs(30);
    /// An older message cannot be the cause of an error now: no call takes longer.
    const RECENT: Duration = Duration::from_secs(20);

    fn report(&self, message: &str) {
        let is_due = {
            let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            last.message = Some((message.to_owned(), Instant::now()));
            let is_due = last.warned_at.is_none_or(|at| at.elapsed() >= Self::WARN_INTERVAL);
            if is_due {
                last.warned_at = Some(Instant::now());
            }
            is_due
        };
        if is_due {
            tracing::warn!(what = message, "trouble with Kafka");
        } else {
            tracing::debug!(what = message, "trouble with Kafka");
        }
    }

    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).refusal
    }

    /// An error together with the last logged message, because most errors of librdkafka name no cause.
    pub(super) fn with_last_error(&self, error: &dyn Display) -> String {
        match &self.0.lock().unwrap_or_else(PoisonError::into_inner).message {
            Some((message, at)) if at.elapsed() < Self::RECENT => format!("{error} ({message})"),
            Some(_) | None => error.to_string(),
        }
    }
}

impl ClientContext for Log {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                self.report(text);
            }
            // These two say that a member lost its partitions because it was too slow, so each is a warning.
            RDKafkaLogLevel::Warning if ["MAXPOLL", "SESSTMOUT"].contains(&facility) => tracing::warn!("{text}"),
            RDKafkaLogLevel::Warning => self.report(text),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::debug!(facility, "{text}"),
            RDKafkaLogLevel::Debug => tracing::trace!(facility, "{text}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(refusal) = Refusal::from_error(&error, reason) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).refusal = Some(refusal);
        }
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            // Each broker has reported its own error already.
            tracing::debug!(reason, "trouble with Kafka");
        } else {
            self.report(reason);
        }
    }
}

impl ConsumerContext for Log {}
