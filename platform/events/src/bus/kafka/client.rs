//! How clients of the broker are set up, and where librdkafka's log goes.

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

/// The largest value that a topic takes, with key and headers. Carts and orders stay far below it.
const MAX_MESSAGE_BYTES: &str = "4194304";
/// The broker measures what librdkafka made of it: the batch around the message comes on top.
pub(super) const MAX_BATCH_BYTES: &str = "4259840";

/// What all clients of one bus share.
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

    /// What any client needs.
    pub(super) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.options.brokers.trim())
            .set("client.id", &self.options.client_id)
            // Else librdkafka asks `log` for a level, and nobody answers there.
            .set_log_level(RDKafkaLogLevel::Info)
            // A topic that the broker made up would have its number of partitions, not ours.
            .set("allow.auto.create.topics", "false")
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.connection.setup.timeout.ms", "5000")
            // A broker that hangs is given up after this.
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
            // With more, a message is lost and confirmed all the same: when the first request to a partition is refused (its
            // leader is not ready) and the second one is not, librdkafka takes the success of the second for that of both.
            .set("max.in.flight.requests.per.connection", "1")
            // Java's, so that a key is where other clients look for it.
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "0")
            .set("message.max.bytes", MAX_MESSAGE_BYTES)
            .set("message.timeout.ms", millis(EVENT_DELIVERY))
            .set("request.timeout.ms", "5000")
            // `ensure_topic` has waited for the topic: one that is not there now will not be there soon.
            .set("topic.metadata.propagation.max.ms", "2000");
        config
    }

    /// A consumer that remembers nothing by itself.
    pub(super) fn consumer(&self, group: &str) -> ClientConfig {
        let mut config = self.client();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            // What was damaged on its way or on the broker's disk is told, not read as something else.
            .set("check.crcs", "true");
        config
    }

    /// A consumer that shares a topic with the others of its group.
    pub(super) fn member(&self, group: &str) -> ClientConfig {
        // A member that comes back under its name (`group.instance.id`) would not have to wait for the end of its session, but
        // librdkafka 2.12 closes such a member only sometimes.
        let session = GROUP_SESSION.min(self.options.max_work);
        let mut config = self.consumer(group);
        config
            // With the others (range, round robin) everybody stops whenever somebody joins or leaves, and all wait for the one
            // that works longest. With this one only those partitions pause that move.
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", millis(session))
            // How soon a member hears that another one has joined or left.
            .set("heartbeat.interval.ms", millis(session / 10))
            .set("max.poll.interval.ms", millis(self.options.max_work))
            // A topic that was deleted ends the subscription at once. Else it would go on at its old place in the topic that
            // is made in its stead.
            .set("topic.metadata.propagation.max.ms", "0");
        config
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// Takes librdkafka's words into our log. A broker that is away makes every client say so all the time: one line now and
/// then tells that, the others are for who looks closely.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<LastTrouble>>);

#[derive(Default)]
struct LastTrouble {
    what: Option<(String, Instant)>,
    /// What a broker, or TLS on the way to it, has refused last.
    refusal: Option<Refusal>,
    warned: Option<Instant>,
}

impl Log {
    const WARN_EVERY: Duration = Duration::from_secs(30);
    /// What was said longer ago has nothing to do with an error of now: no call takes so long.
    const RECENT: Duration = Duration::from_secs(20);

    fn trouble(&self, what: &str) {
        let is_due = {
            let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            last.what = Some((what.to_owned(), Instant::now()));
            let is_due = last.warned.is_none_or(|warned| warned.elapsed() >= Self::WARN_EVERY);
            if is_due {
                last.warned = Some(Instant::now());
            }
            is_due
        };
        if is_due {
            tracing::warn!(what, "trouble with Kafka");
        } else {
            tracing::debug!(what, "trouble with Kafka");
        }
    }

    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).refusal
    }

    /// An error, with what librdkafka has just said: most of its errors tell only that it did not work.
    pub(super) fn because(&self, error: &dyn Display) -> String {
        match &self.0.lock().unwrap_or_else(PoisonError::into_inner).what {
            Some((what, at)) if at.elapsed() < Self::RECENT => format!("{error} ({what})"),
            Some(_) | None => error.to_string(),
        }
    }
}

impl ClientContext for Log {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                self.trouble(text);
            }
            // What only a member that did not answer hears is worth a line each time.
            RDKafkaLogLevel::Warning if ["MAXPOLL", "SESSTMOUT"].contains(&facility) => tracing::warn!("{text}"),
            RDKafkaLogLevel::Warning => self.trouble(text),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::debug!(facility, "{text}"),
            RDKafkaLogLevel::Debug => tracing::trace!(facility, "{text}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(refusal) = Refusal::told_by(&error, reason) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).refusal = Some(refusal);
        }
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            // Each of them has said why.
            tracing::debug!(reason, "trouble with Kafka");
        } else {
            self.trouble(reason);
        }
    }
}

impl ConsumerContext for Log {}
