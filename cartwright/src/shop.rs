//! The composition: what is started, with what, in which order, and how it stops.

mod listeners;
mod network;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use events::{EventBus, SqliteBus};
use runtime::{
    Faults, Health, Probe, Runtime,
    config::ConfigError,
    serve::{Interface, Running},
};
use storage::{DataDir, OpenError};

use crate::{Config, ServiceName, secret, settings::Settings};
use listeners::Listeners;
use network::Network;

/// How long each stage of the shutdown may take.
const DRAIN: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_IN_FLIGHT: usize = 1024;
const OUTBOX_RETENTION: Duration = Duration::from_hours(7 * 24);
/// How long the provider may take beyond its own latency.
const PROVIDER_MARGIN: Duration = Duration::from_secs(1);

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

/// Why a shop did not start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Configuration(#[from] ConfigError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{variable} {address}: {source}; set another {variable} (0 picks a free port)")]
    Listen {
        variable: &'static str,
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

/// A running shop, or the part of one that runs in this process.
#[derive(Debug)]
pub struct Shop {
    /// In the order in which they stop.
    services: Vec<Running>,
    gateway: Option<gateway::Running>,
    admin: gateway::Running,
    /// Held until the last service has stopped.
    _data: DataDir,
}

impl Shop {
    /// Starts what the configuration names. When this returns, it answers.
    pub async fn start(config: &Config, hooks: Hooks) -> Result<Self, StartError> {
        let runtime = Runtime {
            crash: config.crash.clone(),
            ..hooks.runtime
        };
        let data = DataDir::own(&config.settings.data_dir)?;
        let mut listeners = Listeners::bind(config).await?;
        let mut network = Network::new(config, hooks.faults)?;
        let bus: Arc<dyn EventBus> = Arc::new(SqliteBus::open(&data.path().join("bus.db"), &runtime.crash).await?);
        let built = build(config, &data, &network, bus, &runtime).await?;
        let mut probes = Vec::new();
        let mut services = Vec::new();
        for (name, service, runtime) in built {
            probes.extend(service.probes.clone());
            let (listener, incoming) = (listeners.of(name)?, network.incoming(name)?);
            let running = runtime::serve::start(service, listener, incoming, INTERFACE, &runtime).await;
            services.push(running.map_err(anyhow::Error::from)?);
        }
        let health = Health::new(probes);
        let gateway = match listeners.gateway.take() {
            Some(listener) => Some(serve_gateway(config, &network, listener, health.clone(), &runtime)?),
            None => None,
        };
        let admin = gateway::serve(health.routes(), listeners.admin).map_err(anyhow::Error::from)?;
        Ok(Self {
            services,
            gateway,
            admin,
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

    /// Stops in stages, each within bounds: no new requests first, then no new sagas, then what sagas and events need.
    pub async fn stop(self) {
        if let Some(gateway) = self.gateway {
            gateway.stop(DRAIN).await;
        }
        for service in self.services {
            service.stop(DRAIN).await;
        }
        self.admin.stop(Duration::from_secs(1)).await;
    }
}

type Built = Vec<(ServiceName, runtime::Service, Runtime)>;

/// The services, in the order in which they stop.
async fn build(
    config: &Config,
    data: &DataDir,
    network: &Network,
    bus: Arc<dyn EventBus>,
    runtime: &Runtime,
) -> Result<Built, StartError> {
    use ServiceName::{Cart, Checkout, Inventory, Notification, Orders, Payment, Product};
    let settings = &config.settings;
    let mut built = Vec::new();
    for name in [Checkout, Cart, Orders, Notification, Payment, Inventory, Product] {
        if !config.runs(name) {
            continue;
        }
        let own = runtime.with_own_tasks();
        let file = data.path().join(format!("{}.db", name.as_str()));
        let service = match name {
            Checkout => checkout::build(checkout_config(settings, file), network.checkout(), bus.clone(), &own).await?,
            Cart => cart::build(cart_config(settings, file), network.peer(Product), bus.clone(), &own).await?,
            Orders => {
                orders::build(
                    orders::Config {
                        store: orders::Store::Sqlite(file),
                    },
                    bus.clone(),
                    &own,
                )
                .await?
            }
            Notification => {
                let config = notification::Config {
                    store: notification::Store::Sqlite(file),
                };
                notification::build(config, bus.clone(), &own).await?
            }
            Payment => {
                let ledger = data.path().join("provider.db");
                payment::build(payment_config(settings, file, ledger), &own).await?
            }
            Inventory => {
                let (store, reservation_ttl) = (inventory::Store::Sqlite(file), settings.reservation_ttl.0);
                inventory::build(inventory::Config { store, reservation_ttl }, &own).await?
            }
            Product => {
                product::build(
                    product::Config {
                        store: product::Store::Sqlite(file),
                    },
                    &own,
                )
                .await?
            }
            ServiceName::Gateway => continue,
        };
        let service = if name.uses_events() {
            service.probe(bus_probe(&bus))
        } else {
            service
        };
        built.push((name, service, own));
    }
    Ok(built)
}

fn checkout_config(settings: &Settings, file: std::path::PathBuf) -> checkout::Config {
    checkout::Config {
        store: checkout::Store::Sqlite(file),
        timeout: settings.checkout_timeout.0,
        // The data directory has one owner: whoever holds it is the one who held it before.
        owner: "data-dir".to_owned(),
        outbox_poll: settings.outbox_poll_interval.0,
        outbox_batch: settings.outbox_batch_size,
        outbox_retention: OUTBOX_RETENTION,
    }
}

fn cart_config(settings: &Settings, file: std::path::PathBuf) -> cart::Config {
    let store = cart::Store::Sqlite(file);
    cart::Config {
        store,
        cache: cart::Cache::Memory,
        cache_ttl: settings.cart_cache_ttl.0,
    }
}

fn payment_config(settings: &Settings, file: std::path::PathBuf, ledger: std::path::PathBuf) -> payment::Config {
    payment::Config {
        store: payment::Store::Sqlite(file),
        provider: payment::ProviderConfig {
            ledger: payment::Store::Sqlite(ledger),
            success_rate: settings.payment_success_rate,
            min_latency: settings.payment_min_latency.0,
            max_latency: settings.payment_max_latency.0,
        },
        provider_timeout: settings.payment_max_latency.0 + PROVIDER_MARGIN,
    }
}

fn bus_probe(bus: &Arc<dyn EventBus>) -> Probe {
    let bus = bus.clone();
    Probe::new("event-bus", move || {
        let bus = bus.clone();
        async move { bus.is_up().await }
    })
}

fn serve_gateway(
    config: &Config,
    network: &Network,
    listener: tokio::net::TcpListener,
    health: Health,
    runtime: &Runtime,
) -> Result<gateway::Running, StartError> {
    let settings = gateway::Config {
        secret: secret::of(&config.settings)?,
        checkout_timeout: config.settings.checkout_timeout.0,
        request_timeout: REQUEST_TIMEOUT,
        max_in_flight: MAX_IN_FLIGHT,
    };
    let router = gateway::router(settings, network.gateway(), health, runtime);
    Ok(gateway::serve(router, listener).map_err(anyhow::Error::from)?)
}
