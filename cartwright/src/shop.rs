//! The composition: what is started, with what, in which order, and how it stops.

pub(crate) mod bus;
mod listeners;
pub(crate) mod network;

use std::{net::SocketAddr, time::Duration};

use futures::future::join_all;
use gateway::Proxied;
use runtime::{
    Faults, Health, Runtime, Service,
    config::ConfigError,
    deadlines,
    http::{self, HttpTimeouts},
    serve::{Capacity, FileDescriptors, Interface, Limits, Running},
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
/// What one customer may have of these.
const SHARE: usize = MAX_IN_FLIGHT / 4;
const OUTBOX_RETENTION: Duration = Duration::from_hours(7 * 24);

const INTERFACE: Interface = Interface {
    descriptors: proto::FILE_DESCRIPTOR_SET,
    complete: proto::status::complete,
};

/// What a test may replace.
#[derive(Clone)]
pub struct Hooks {
    pub runtime: Runtime,
    pub faults: Faults,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            runtime: Runtime::system(),
            faults: Faults::none(),
        }
    }
}

/// Why a shop did not start. Each says what to do, with the text of its cause, which is no source therefore: who prints a chain
/// of sources would say it twice.
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
    /// In the order in which they stop.
    services: Vec<Running>,
    gateway: Option<http::Running>,
    admin: http::Running,
    /// How long a stop may take.
    shutdown_timeout: Duration,
    /// Held until the last service has stopped; none when nothing here is kept in it.
    _data: Option<DataDir>,
}

impl Shop {
    /// Starts what the configuration names. When this returns, it answers.
    pub async fn start(config: &Config, hooks: Hooks) -> Result<Self, StartError> {
        let settings = &config.settings;
        let descriptors = descriptors(settings);
        let limits = Limits {
            capacity: Capacity::new(descriptors.grpc, descriptors.grpc / 2),
            ..hooks.runtime.limits
        };
        let runtime = Runtime {
            points: config.points.clone(),
            limits,
            ..hooks.runtime
        };
        let mut network = Network::new(config, hooks.faults)?;
        let data = if settings.embeds(&config.services) {
            Some(DataDir::own(&settings.data_dir)?)
        } else {
            None
        };
        if config.runs(ServiceName::Gateway) {
            // A key that cannot be used is found before anything runs.
            secret::of(settings)?;
        }
        let mut listeners = Listeners::bind(config).await?;
        let built = build(config, &network, &runtime).await?;
        let mut probes = Vec::new();
        let mut services = Vec::new();
        for (name, service, runtime) in built {
            probes.extend(service.probes.clone());
            let (listener, incoming) = (listeners.of(name)?, network.incoming(name)?);
            let running = runtime::serve::start(service, listener, incoming, INTERFACE, &runtime).await;
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
            shutdown_timeout: settings.shutdown_timeout.0,
            _data: data,
        })
    }

    /// Where a service listens, if it runs here.
    pub fn address(&self, service: ServiceName) -> Option<SocketAddr> {
        if service == ServiceName::Gateway {
            return self.gateway.as_ref().map(|gateway| gateway.address);
        }
        self.services
            .iter()
            .find(|running| running.name == service.as_str())
            .map(|running| running.address)
    }

    /// Where `/health/ready` is.
    pub const fn admin(&self) -> SocketAddr {
        self.admin.address
    }

    /// Stops in stages: no new requests first, then no new sagas, then what sagas and events need, and the catalogue, which
    /// carts need, last. Each stage has a share of the time that is left by then; all of them leave some for the clients of
    /// engines to be closed.
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
        self.admin.stop(until(85)).await;
    }
}

type Built = Vec<(ServiceName, Service, Runtime)>;

/// The services, in the order in which they stop.
async fn build(config: &Config, network: &Network, runtime: &Runtime) -> Result<Built, StartError> {
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
    Ok(built)
}

fn checkout_config(settings: &Settings, runtime: &Runtime) -> Result<checkout::Config, ConfigError> {
    let store = settings.database(ServiceName::Checkout)?;
    let default_method = settings.payment_provider.default_method();
    let owner = match (settings.engines.instance(), &store) {
        (Some(name), _) => name.to_owned(),
        // The data directory has one owner: whoever holds it is the one who held it before.
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
        keys: secret::of(&config.settings)?,
        parties: config.settings.tokens.parties(),
        checkout_timeout: config.settings.checkout_timeout.0,
        request_timeout: REQUEST_TIMEOUT,
        max_in_flight: MAX_IN_FLIGHT,
        share: SHARE,
        proxied: if config.settings.trust_forwarded_for {
            Proxied::Trusted
        } else {
            Proxied::Not
        },
    })
}

/// How many connections each port may have, and a word about it when those are fewer than what is set.
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

/// One address may have half of the connections, or all when it is that of a proxy.
fn gateway_capacity(settings: &Settings, descriptors: FileDescriptors) -> Capacity {
    let connections = descriptors.gateway;
    let share = if settings.trust_forwarded_for {
        connections
    } else {
        connections / 2
    };
    Capacity::new(connections, share)
}

/// The port of the process's health.
fn admin_server(settings: &Settings, descriptors: FileDescriptors, health: Health, runtime: &Runtime) -> http::Server {
    http::Server {
        name: "admin",
        router: health.routes(),
        capacity: Capacity::new(descriptors.admin, descriptors.admin),
        timeouts: timeouts(settings),
        refusals: gateway::problem_of,
        runtime: runtime.clone(),
    }
}

fn timeouts(settings: &Settings) -> HttpTimeouts {
    HttpTimeouts {
        keep_alive: settings.keep_alive_timeout.0,
        ..HttpTimeouts::default()
    }
}
