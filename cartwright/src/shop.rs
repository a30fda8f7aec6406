//! The composition: what runs, with which parts, in which order it starts and stops.

pub(crate) mod bus;
mod listeners;
pub(crate) mod network;

use std::{net::SocketAddr, time::Duration};

use futures::future::join_all;
use gateway::ForwardedFor;
use runtime::{
    Faults, Health, Runtime, Service, Tasks,
    config::ConfigError,
    deadlines,
    http::{self, HttpTimeouts},
    serve::{Capacity, FileDescriptors, GrpcContract, GrpcLimits, Running},
};
use storage::{DataDir, Database, OpenError};
use tokio::time::Instant;

use crate::{
    Config, ServiceName, secret,
    settings::{PaymentProvider, Settings},
};
use listeners::Listeners;
use network::Network;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_IN_FLIGHT: usize = 1024;
/// The most requests in flight of one caller.
const MAX_PER_CALLER: usize = MAX_IN_FLIGHT / 4;
const OUTBOX_RETENTION: Duration = Duration::from_hours(7 * 24);

const GRPC_CONTRACT: GrpcContract = GrpcContract {
    descriptors: proto::FILE_DESCRIPTOR_SET,
    add_status_details: proto::status::add_status_details,
};

/// Parts that a test may replace.
#[derive(Clone)]
pub struct Overrides {
    pub runtime: Runtime,
    pub faults: Faults,
}

impl Default for Overrides {
    fn default() -> Self {
        Self {
            runtime: Runtime::system(),
            faults: Faults::none(),
        }
    }
}

/// Why a shop did not start, and what to do. The text includes the cause, so the cause is no `source`: a chain of
/// sources would repeat it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Configuration(#[from] ConfigError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{variable} {address}: {cause}; set another {variable} (0 picks a free port)")]
    Listen {
        variable: &'static str,
        address: SocketAddr,
        cause: std::io::Error,
    },
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// A running shop, or the part of one that runs in this process.
#[derive(Debug)]
pub struct Shop {
    /// In the order of the stop.
    services: Vec<Running>,
    gateway: Option<http::Running>,
    admin: http::Running,
    /// The transactions of the event bus, which services share.
    bus: Tasks,
    /// How long a stop may take.
    shutdown_timeout: Duration,
    /// Locked until the last service has stopped. `None` if no service of this process uses it.
    _data: Option<DataDir>,
}

impl Shop {
    /// Starts the services of the configuration. When this returns, they answer.
    pub async fn start(config: &Config, overrides: Overrides) -> Result<Self, StartError> {
        let settings = &config.settings;
        let descriptors = descriptors(settings);
        let limits = GrpcLimits {
            capacity: Capacity::new(descriptors.grpc, descriptors.grpc / 2),
            ..overrides.runtime.limits
        };
        let runtime = Runtime {
            points: config.points.clone(),
            limits,
            ..overrides.runtime
        };
        let mut network = Network::new(config, overrides.faults)?;
        let data = if settings.uses_data_dir(&config.services) {
            Some(DataDir::own(&settings.data_dir)?)
        } else {
            None
        };
        if config.runs(ServiceName::Gateway) {
            // Fails before anything runs if the key is unusable.
            secret::token_keys(settings)?;
        }
        let mut listeners = Listeners::bind(config).await?;
        let (built, bus) = build(config, &network, &runtime).await?;
        let (mut probes, mut services) = (Vec::new(), Vec::new());
        for (name, service, runtime) in built {
            probes.extend(service.probes.clone());
            let (listener, incoming) = (listeners.of(name)?, network.incoming(name)?);
            let running = runtime::serve::start(service, listener, incoming, GRPC_CONTRACT, &runtime).await;
            services.push(running.map_err(anyhow::Error::from)?);
        }
        if listeners.gateway.is_some() {
            probes.extend(network.gateway_probes(config));
        }
        let mut health = Health::new(probes);
        if config.runs(ServiceName::Payment) {
            health = health.note("payment-provider", settings.payment_provider.as_str());
        }
        let server = admin_server(settings, descriptors, health.clone(), &runtime);
        let gateway = match listeners.gateway.take() {
            Some(listener) => {
                let gateway = http::Server {
                    name: "gateway",
                    router: gateway::router(gateway_config(config)?, network.gateway(), health, &runtime),
                    capacity: gateway_capacity(settings, descriptors),
                    ..server.clone()
                };
                Some(http::serve(gateway, listener).map_err(anyhow::Error::from)?)
            }
            None => None,
        };
        let admin = http::serve(server, listeners.admin).map_err(anyhow::Error::from)?;
        Ok(Self {
            services,
            gateway,
            admin,
            bus,
            shutdown_timeout: settings.shutdown_timeout.0,
            _data: data,
        })
    }

    /// The address of a service, if it runs in this process.
    pub fn address(&self, service: ServiceName) -> Option<SocketAddr> {
        if service == ServiceName::Gateway {
            return self.gateway.as_ref().map(|gateway| gateway.address);
        }
        self.services
            .iter()
            .find(|running| running.name == service.as_str())
            .map(|running| running.address)
    }

    /// The address of `/health/ready`.
    pub const fn admin(&self) -> SocketAddr {
        self.admin.address
    }

    /// Stops in stages: gateway, checkout, the services that sagas and events need, and last product, which cart needs.
    /// Each stage ends at its share of the timeout; the rest is for closing the clients of engines.
    pub async fn stop(self) {
        let began = Instant::now();
        let until = |percent: u32| (self.shutdown_timeout * percent / 100).saturating_sub(began.elapsed());
        if let Some(gateway) = self.gateway {
            gateway.stop(until(40)).await;
        }
        let is = |service: ServiceName| move |running: &Running| running.name == service.as_str();
        let (checkout, others): (Vec<_>, Vec<_>) = self.services.into_iter().partition(is(ServiceName::Checkout));
        let (product, others) = others.into_iter().partition(is(ServiceName::Product));
        for (stage, share) in [(checkout, 65), (others, 75), (product, 80)] {
            join_all(stage.into_iter().map(|service| service.stop(until(share)))).await;
        }
        self.bus.stop(until(82)).await;
        self.admin.stop(until(85)).await;
    }
}

type Built = Vec<(ServiceName, Service, Runtime)>;

/// Builds the services, in the order of the stop. Returns also the transactions of the bus that they share.
async fn build(config: &Config, network: &Network, runtime: &Runtime) -> Result<(Built, Tasks), StartError> {
    use ServiceName::{Cart, Checkout, Inventory, Notification, Orders, Payment, Product};
    let settings = &config.settings;
    let bus = bus::open(config, runtime).await?;
    let mut built = Vec::new();
    for name in [Checkout, Cart, Orders, Notification, Payment, Inventory, Product] {
        if !config.runs(name) {
            continue;
        }
        let own = runtime.with_own_tasks();
        let service = match (name, &bus) {
            (Checkout, Some(bus)) => {
                let config = checkout_config(settings, runtime)?;
                checkout::build(config, network.checkout(), bus.shared(), &own).await?
            }
            (Cart, Some(bus)) => cart::build(cart_config(settings), network.peer(Product), bus.shared(), &own).await?,
            (Orders, Some(bus)) => {
                let store = settings.database(Orders)?;
                orders::build(orders::Config { store }, bus.shared(), &own).await?
            }
            (Notification, Some(bus)) => {
                let store = settings.database(Notification)?;
                notification::build(notification::Config { store }, bus.shared(), &own).await?
            }
            (Payment, _) => payment::build(payment_config(settings)?, &own).await?,
            (Inventory, _) => {
                let (store, reservation_ttl) = (settings.database(Inventory)?, settings.reservation_ttl.0);
                inventory::build(inventory::Config { store, reservation_ttl }, &own).await?
            }
            (Product, _) => {
                let store = settings.database(Product)?;
                product::build(product::Config { store }, &own).await?
            }
            (Checkout | Cart | Orders | Notification | ServiceName::Gateway, _) => continue,
        };
        let service = match &bus {
            Some(bus) if name.uses_events() => bus.probes(name).into_iter().fold(service, Service::probe),
            Some(_) | None => service,
        };
        built.push((name, service, own));
    }
    Ok((built, bus.map_or_else(Tasks::new, |bus| bus.transactions)))
}

fn checkout_config(settings: &Settings, runtime: &Runtime) -> Result<checkout::Config, ConfigError> {
    let store = settings.database(ServiceName::Checkout)?;
    let default_method = settings.payment_provider.default_method();
    let owner = match (settings.engines.instance(), &store) {
        (Some(name), _) => name.to_owned(),
        // The data directory is locked by one process at a time, so its holder continues the sagas of the one before.
        (None, Database::Sqlite(_)) => "data-dir".to_owned(),
        (None, Database::Postgres(_)) => runtime.ids.next().to_string(),
    };
    Ok(checkout::Config {
        store,
        default_method,
        timeout: settings.checkout_timeout.0,
        owner,
        outbox_poll: settings.outbox_poll_interval.0,
        outbox_batch: settings.outbox_batch_size,
        outbox_retention: OUTBOX_RETENTION,
    })
}

fn cart_config(settings: &Settings) -> cart::Config {
    cart::Config {
        store: settings.cart_store(),
        cache: settings.cart_cache(),
        cache_ttl: settings.cart_cache_ttl.0,
    }
}

fn payment_config(settings: &Settings) -> Result<payment::Config, ConfigError> {
    Ok(payment::Config {
        store: settings.database(ServiceName::Payment)?,
        provider: match settings.payment_provider {
            PaymentProvider::Simulated => payment::Provider::Simulated(payment::Simulation {
                ledger: settings.provider_ledger()?,
                success_rate: settings.payment_success_rate,
                min_latency: settings.payment_min_latency.0,
                max_latency: settings.payment_max_latency.0,
            }),
        },
        provider_timeout: settings.payment_max_latency.0 + deadlines::PROVIDER_MARGIN,
    })
}

fn gateway_config(config: &Config) -> Result<gateway::Config, StartError> {
    Ok(gateway::Config {
        keys: secret::token_keys(&config.settings)?,
        expected_claims: config.settings.tokens.expected_claims(),
        checkout_timeout: config.settings.checkout_timeout.0,
        request_timeout: REQUEST_TIMEOUT,
        max_in_flight: MAX_IN_FLIGHT,
        max_per_caller: MAX_PER_CALLER,
        forwarded_for: if config.settings.trust_forwarded_for {
            ForwardedFor::Trusted
        } else {
            ForwardedFor::Ignored
        },
    })
}

/// The connections of each port. Warns if the limit of open files allows fewer than `MAX_CONNECTIONS`.
fn descriptors(settings: &Settings) -> FileDescriptors {
    let wanted = usize::try_from(settings.max_connections).unwrap_or(usize::MAX);
    let descriptors = FileDescriptors::divide(wanted);
    if descriptors.gateway < wanted {
        tracing::warn!(
            open_files = descriptors.all,
            gateway = descriptors.gateway,
            grpc = descriptors.grpc,
            "this process may open so few files that it takes fewer connections than MAX_CONNECTIONS; raise its limit (ulimit -n)"
        );
    }
    descriptors
}

/// One client address may have half of the connections; a proxy's address may have all.
fn gateway_capacity(settings: &Settings, descriptors: FileDescriptors) -> Capacity {
    let connections = descriptors.gateway;
    let share = if settings.trust_forwarded_for {
        connections
    } else {
        connections / 2
    };
    Capacity::new(connections, share)
}

/// The server of the health routes.
fn admin_server(settings: &Settings, descriptors: FileDescriptors, health: Health, runtime: &Runtime) -> http::Server {
    http::Server {
        name: "admin",
        router: health.routes(),
        capacity: Capacity::new(descriptors.admin, descriptors.admin),
        timeouts: timeouts(settings),
        render_refusal: gateway::problem_of,
        runtime: runtime.clone(),
    }
}

fn timeouts(settings: &Settings) -> HttpTimeouts {
    HttpTimeouts {
        keep_alive: settings.keep_alive_timeout.0,
        ..HttpTimeouts::default()
    }
}
