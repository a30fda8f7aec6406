//! All settings, each with flag, variable and default, and the configuration that they make.

mod engines;
mod hooks;
mod listeners;
mod per_service;
mod provider;
pub(crate) mod redaction;
mod secrets;
mod signing;
mod sources;
mod tokens;

use std::path::PathBuf;

use clap::Args;
use payment::SuccessRate;
use runtime::{
    Points,
    config::{ConfigError, Span},
    deadlines,
    telemetry::LogFormat,
};
use tracing::level_filters::LevelFilter;

use crate::services::ServiceName;

pub use engines::Engines;
pub use hooks::{HooksConsent, TestHooks};
pub(crate) use listeners::is_loopback;
pub use listeners::{ListenAddresses, Plaintext};
pub use per_service::{Addresses, DatabaseFiles, Databases, Ports};
pub use provider::PaymentProvider;
pub use secrets::SecretFiles;
pub(crate) use secrets::variable_of;
pub use signing::SigningSettings;
pub use sources::Sources;
pub use tokens::TokenSettings;

/// All settings as clap reads them from flags and the environment.
#[derive(Debug, Clone, Args)]
#[allow(clippy::struct_field_names, reason = "the names are those of the variables")]
pub struct Settings {
    /// The directory of the embedded stores.
    #[arg(long, env, default_value = "./data", global = true, value_name = "DATA_DIR")]
    pub data_dir: PathBuf,
    #[command(flatten)]
    pub listen: ListenAddresses,
    #[command(flatten)]
    pub addresses: Addresses,
    #[command(flatten)]
    pub engines: Engines,
    #[command(flatten)]
    pub tokens: TokenSettings,
    #[command(flatten)]
    pub signing: SigningSettings,
    #[command(flatten)]
    pub secret_files: SecretFiles,
    /// How long a reservation of stock lives without being confirmed.
    #[arg(long, env, default_value = "5m", global = true)]
    pub reservation_ttl: Span,
    /// How long a cart stays in the cache; up to a third is added at random.
    #[arg(long, env, default_value = "15m", global = true)]
    pub cart_cache_ttl: Span,
    /// How often the relay looks for events whose wake-up was lost.
    #[arg(long, env, default_value = "1s", global = true)]
    pub outbox_poll_interval: Span,
    /// The most events that are published at once.
    #[arg(long, env, default_value_t = 100, global = true, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub outbox_batch_size: u32,
    /// How long events stay on the bus, at least 1h; then they are removed once all groups have read them. Records of
    /// applied events are kept twice as long.
    #[arg(long, env, default_value = "7d", global = true)]
    pub event_retention: Span,
    /// The payment provider. The simulated provider moves no money, and is the only one so far.
    #[arg(long, env, default_value = "simulated", global = true)]
    pub payment_provider: PaymentProvider,
    /// The share of charges of a good card that the simulated provider accepts, 0 to 1.
    #[arg(long, env, default_value = "1.0", global = true)]
    pub payment_success_rate: SuccessRate,
    /// The shortest latency of the simulated provider.
    #[arg(long, env, default_value = "0s", global = true)]
    pub payment_min_latency: Span,
    /// The longest latency of the simulated provider; at most 6s.
    #[arg(long, env, default_value = "0s", global = true)]
    pub payment_max_latency: Span,
    /// How long `POST /checkout` waits before it answers 202.
    #[arg(long, env, default_value = "5s", global = true)]
    pub checkout_timeout: Span,
    /// When the gateway closes an idle connection; longer than the idle timeout of a load balancer in front of it.
    #[arg(long, env, default_value = "75s", global = true)]
    pub keep_alive_timeout: Span,
    /// The most connections to the gateway; one address may have half of them, or all with `TRUST_FORWARDED_FOR`.
    #[arg(long, env, default_value_t = 4096, global = true, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,
    /// Whether the last address in `X-Forwarded-For` is the client's: true only behind a proxy that writes it.
    #[arg(long, env, default_value_t = false, action = clap::ArgAction::Set, global = true)]
    pub trust_forwarded_for: bool,
    /// The longest time of an orderly stop; a second signal ends the process at once.
    #[arg(long, env, default_value = "20s", global = true)]
    pub shutdown_timeout: Span,
    /// The lowest level that is logged: error, warn, info, debug, trace.
    #[arg(long, env, default_value = "info", global = true)]
    pub log_level: LevelFilter,
    /// The format of log lines: text or json [default: text on a terminal, else json].
    #[arg(long, env, global = true)]
    pub log_format: Option<LogFormat>,
    #[command(flatten)]
    pub hooks: TestHooks,
}

/// A checked configuration, for [`crate::Shop::start`].
#[derive(Debug, Clone)]
pub struct Config {
    pub services: Vec<ServiceName>,
    pub settings: Settings,
    pub points: Points,
}

impl Config {
    /// Checks all that can be checked without opening anything.
    pub fn new(services: &[ServiceName], settings: Settings) -> Result<Self, ConfigError> {
        let mut services = if services.is_empty() {
            ServiceName::ALL.to_vec()
        } else {
            services.to_vec()
        };
        services.sort_unstable();
        services.dedup();
        settings.engines.check()?;
        settings.listen.check(&services)?;
        settings.tokens.check()?;
        settings.signing.check(&settings.engines)?;
        check_durations(&settings)?;
        if settings.engines.kafka().is_none() {
            check_events(&services)?;
        }
        let points = settings.hooks.points()?;
        Ok(Self {
            services,
            settings,
            points,
        })
    }

    /// The whole shop on embedded stores in `data_dir` and free ports, without the environment: for `demo` and tests.
    pub fn embedded(data_dir: PathBuf) -> Result<Self, ConfigError> {
        let mut settings = Settings::defaults();
        settings.data_dir = data_dir;
        settings.listen = settings.listen.on_free_ports();
        Self::new(&[], settings)
    }

    pub fn runs(&self, service: ServiceName) -> bool {
        self.services.contains(&service)
    }

    /// What an operator should know of this valid configuration.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.settings.engines.warnings();
        if self.runs(ServiceName::Payment) {
            match self.settings.payment_provider {
                PaymentProvider::Simulated => {
                    warnings.push("PAYMENT_PROVIDER: the payment provider is simulated: no money moves".to_owned());
                }
            }
        }
        if !self.runs(ServiceName::Gateway) && !is_loopback(self.settings.listen.host) {
            warnings.push(
                "HOST: it is the address of the gateway, which does not run in this process; services listen at GRPC_HOST"
                    .to_owned(),
            );
        }
        warnings
    }
}

fn check_durations(settings: &Settings) -> Result<(), ConfigError> {
    let positive = [
        ("RESERVATION_TTL", settings.reservation_ttl),
        ("CART_CACHE_TTL", settings.cart_cache_ttl),
        ("OUTBOX_POLL_INTERVAL", settings.outbox_poll_interval),
        ("CHECKOUT_TIMEOUT", settings.checkout_timeout),
        ("KEEP_ALIVE_TIMEOUT", settings.keep_alive_timeout),
        ("SHUTDOWN_TIMEOUT", settings.shutdown_timeout),
    ];
    if let Some((variable, _)) = positive.into_iter().find(|(_, span)| span.0.is_zero()) {
        return Err(ConfigError::new(variable, "must be more than 0"));
    }
    if settings.payment_min_latency > settings.payment_max_latency {
        return Err(ConfigError::new(
            "PAYMENT_MIN_LATENCY",
            "must not be more than PAYMENT_MAX_LATENCY",
        ));
    }
    if settings.payment_max_latency.0 > deadlines::PROVIDER_LATENCY {
        return Err(ConfigError::new(
            "PAYMENT_MAX_LATENCY",
            "must not be more than 6s, or charges would never be answered",
        ));
    }
    if settings.event_retention.0 < std::time::Duration::from_hours(1) {
        return Err(ConfigError::new(
            "EVENT_RETENTION",
            "must be at least 1h, and cannot be switched off: consumers detect repeated events for twice that time",
        ));
    }
    let bounded = [
        ("SHUTDOWN_TIMEOUT", settings.shutdown_timeout),
        ("KEEP_ALIVE_TIMEOUT", settings.keep_alive_timeout),
    ];
    let hour = std::time::Duration::from_hours(1);
    if let Some((variable, _)) = bounded.into_iter().find(|(_, span)| span.0 > hour) {
        return Err(ConfigError::new(variable, "must not be more than 1h"));
    }
    if settings.checkout_timeout.0 > deadlines::SAGA_WAIT {
        return Err(ConfigError::new("CHECKOUT_TIMEOUT", "must not be more than 50s"));
    }
    Ok(())
}

/// The embedded event bus works in one process: all services that use it must run there.
fn check_events(services: &[ServiceName]) -> Result<(), ConfigError> {
    let users = |here: bool| {
        let users = ServiceName::ALL
            .into_iter()
            .filter(|s| s.uses_events() && services.contains(s) == here);
        users.map(ServiceName::as_str).collect::<Vec<_>>().join(", ")
    };
    let (here, elsewhere) = (users(true), users(false));
    if here.is_empty() || elsewhere.is_empty() {
        return Ok(());
    }
    Err(ConfigError::new(
        "KAFKA_BROKERS",
        format!("is not set, so events stay in one process: {here} must run together with {elsewhere}"),
    ))
}

impl Settings {
    /// The defaults, without the environment.
    pub fn defaults() -> Self {
        use clap::FromArgMatches;
        let command = Self::augment_args(clap::Command::new("defaults")).mut_args(|arg| arg.env(None::<&str>));
        let matches = command.get_matches_from(["defaults"]);
        // Never fails: every argument has a default or is optional.
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}
