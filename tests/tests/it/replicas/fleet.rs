//! A shop in many processes on the same engines, each of which can be stopped or killed and comes back at its place.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use http::StatusCode;
use proto::inventory::v1::{AddStockRequest, inventory_service_client::InventoryServiceClient};
use system_tests::{
    home::{Home, Profile},
    process::{GRPC_HOST, ShopProcess, customer},
    shops::until,
};
use tokio::sync::{Mutex, MutexGuard};

pub(super) const BINARY: &str = env!("CARGO_BIN_EXE_shop");
/// As many processes at once as one PostgreSQL has connections for.
static ALONE: Mutex<()> = Mutex::const_new(());
const SERVICES: [&str; 8] = [
    "product",
    "cart",
    "inventory",
    "payment",
    "checkout",
    "orders",
    "notification",
    "gateway",
];
/// More of each product than anybody can buy.
const PLENTY: i64 = 1_000_000;

/// A process: its place stays when it ends.
pub(super) struct Replica {
    pub(super) name: String,
    services: Vec<&'static str>,
    process: Option<ShopProcess>,
}

pub(super) struct Fleet {
    pub(super) home: Home,
    pub(super) replicas: Vec<Replica>,
    /// By the process's name and the service's.
    ports: BTreeMap<(String, &'static str), u16>,
    settings: Vec<(&'static str, &'static str)>,
    _alone: MutexGuard<'static, ()>,
}

impl Fleet {
    /// Two processes of each service.
    pub(super) async fn open(settings: &[(&'static str, &'static str)]) -> Result<Self> {
        let of = |service| ["a", "b"].map(|letter| (format!("{service}-{letter}"), vec![service]));
        Self::of(SERVICES.into_iter().flat_map(of).collect(), settings).await
    }

    /// One process of each service.
    pub(super) async fn one_of_each(settings: &[(&'static str, &'static str)]) -> Result<Self> {
        let of = |service: &'static str| (service.to_owned(), vec![service]);
        Self::of(SERVICES.into_iter().map(of).collect(), settings).await
    }

    /// Two of one service, and one with all the rest.
    pub(super) async fn with_two_of(service: &'static str) -> Result<Self> {
        let rest = SERVICES.into_iter().filter(|other| *other != service);
        let two = ["a", "b"].map(|letter| (format!("{service}-{letter}"), vec![service]));
        let all = two.into_iter().chain([("rest".to_owned(), rest.collect())]);
        Self::of(all.collect(), &[]).await
    }

    async fn of(plan: Vec<(String, Vec<&'static str>)>, settings: &[(&'static str, &'static str)]) -> Result<Self> {
        let alone = ALONE.lock().await;
        let places = plan.iter().flat_map(|(name, services)| {
            let name = name.clone();
            services.iter().map(move |service| (name.clone(), *service))
        });
        let mut fleet = Self {
            home: Home::new(Profile::Engines).await?,
            ports: places.clone().zip(free_ports(places.count())?).collect(),
            replicas: Vec::new(),
            settings: settings.to_vec(),
            _alone: alone,
        };
        // Two at once: both find that there are no tables yet.
        for pair in plan.chunks(2) {
            let opened = pair.iter().map(|(name, services)| fleet.start(name, services));
            let opened = try_join_all(opened).await?;
            for ((name, services), process) in pair.iter().zip(opened) {
                fleet.replicas.push(Replica {
                    name: name.clone(),
                    services: services.clone(),
                    process: Some(process),
                });
            }
        }
        fleet.stock_up().await?;
        Ok(fleet)
    }

    async fn start(&self, name: &str, services: &[&str]) -> Result<ShopProcess> {
        let mut serve = self.home.command(Path::new(BINARY));
        serve.arg("serve").args(services).env("INSTANCE", name);
        serve.envs(self.settings.iter().copied());
        for service in services {
            let variable = match *service {
                "gateway" => "HTTP_PORT".to_owned(),
                other => format!("{}_PORT", other.to_uppercase()),
            };
            serve.env(variable, self.ports[&(name.to_owned(), *service)].to_string());
        }
        for service in SERVICES.iter().filter(|service| !services.contains(service)) {
            let addresses: Vec<_> = self.addresses(service).iter().map(SocketAddr::to_string).collect();
            serve.env(format!("{}_SERVICE_ADDR", service.to_uppercase()), addresses.join(","));
        }
        let process = ShopProcess::open(serve).await.with_context(|| name.to_owned())?;
        until("it is ready", async || {
            Ok((process.health().await?.status == StatusCode::OK).then_some(()))
        })
        .await
        .with_context(|| name.to_owned())?;
        Ok(process)
    }

    /// Where the replicas of a service listen, running or not.
    pub(super) fn addresses(&self, service: &str) -> Vec<SocketAddr> {
        let of = self.ports.iter().filter(|((_, other), _)| *other == service);
        let host = if service == "gateway" {
            Ipv4Addr::LOCALHOST
        } else {
            GRPC_HOST
        };
        of.map(|(_, port)| SocketAddr::from((host, *port))).collect()
    }

    async fn stock_up(&self) -> Result<()> {
        let address = self.addresses("inventory")[0];
        let mut inventory = InventoryServiceClient::connect(format!("http://{address}")).await?;
        for product_id in 2..=5 {
            let delivery = AddStockRequest {
                product_id,
                quantity: PLENTY,
                idempotency_key: format!("plenty of {product_id}"),
            };
            inventory.add_stock(delivery).await?;
        }
        Ok(())
    }

    /// Tells a process to stop, and waits for its end; returns what it had said on standard error.
    pub(super) async fn stop(&mut self, index: usize) -> Result<String> {
        let replica = &mut self.replicas[index];
        let process = replica.process.take().context("it does not run")?;
        let (status, said) = process.stop().await?;
        ensure!(status.success(), "{} ended with {status}: {said}", replica.name);
        // What it complained about belongs to the picture when something fails.
        for line in said.lines() {
            println!("    {}: {line}", replica.name);
        }
        Ok(said)
    }

    pub(super) async fn kill(&mut self, index: usize) -> Result<()> {
        let process = self.replicas[index].process.take().context("it does not run")?;
        process.kill().await
    }

    /// The process at a place.
    pub(super) fn process(&self, index: usize) -> Result<&ShopProcess> {
        self.replicas[index].process.as_ref().context("it does not run")
    }

    /// Starts it again at its place.
    pub(super) async fn start_again(&mut self, index: usize) -> Result<()> {
        let (name, services) = (self.replicas[index].name.clone(), self.replicas[index].services.clone());
        self.replicas[index].process = Some(self.start(&name, &services).await?);
        Ok(())
    }

    /// Stops all, the last one first; returns what each had said on standard error.
    pub(super) async fn close(&mut self) -> Result<Vec<String>> {
        let mut said = Vec::new();
        for index in (0..self.replicas.len()).rev() {
            said.push(self.stop(index).await?);
        }
        Ok(said)
    }

    /// The process of this name.
    pub(super) fn index(&self, name: &str) -> Result<usize> {
        let found = self.replicas.iter().position(|replica| replica.name == name);
        found.with_context(|| format!("there is no {name}"))
    }

    /// A customer of the first gateway.
    pub(super) fn customer(&self, name: &str) -> Result<cartwright::http::Customer> {
        customer(self.addresses("gateway")[0], name)
    }
}

/// Ports that a process can take again after a restart: from below those that systems give to connections that they make.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let mut held = Vec::new();
    for _ in 0..10 * count {
        // Held until all are found, so that they differ.
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, fastrand::u16(20_000..32_000))) {
            held.push(listener);
        }
        if held.len() == count {
            return held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect();
        }
    }
    anyhow::bail!("there are no {count} free ports")
}
