//! A shop in many processes on the same engines. A test can stop, kill and restart each of them.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use http::StatusCode;
use system_tests::{
    home::{Home, Profile},
    process::{GRPC_HOST, ShopProcess, customer},
    shopping::stock_up,
    shops::until,
};
use tokio::sync::{Mutex, MutexGuard};

use crate::BINARY;

/// Allows one fleet at a time: two would exceed the connections of one PostgreSQL.
static EXCLUSIVE: Mutex<()> = Mutex::const_new(());
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

/// A process, running or not.
pub(super) struct Replica {
    pub(super) name: String,
    services: Vec<&'static str>,
    process: Option<ShopProcess>,
}

pub(super) struct Fleet {
    pub(super) home: Home,
    pub(super) replicas: Vec<Replica>,
    /// By process and service.
    ports: BTreeMap<(String, &'static str), u16>,
    settings: Vec<(&'static str, &'static str)>,
    _exclusive: MutexGuard<'static, ()>,
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

    /// Two processes of one service, and one process of all others.
    pub(super) async fn with_two_of(service: &'static str) -> Result<Self> {
        let rest = SERVICES.into_iter().filter(|other| *other != service);
        let two = ["a", "b"].map(|letter| (format!("{service}-{letter}"), vec![service]));
        let all = two.into_iter().chain([("rest".to_owned(), rest.collect())]);
        Self::of(all.collect(), &[]).await
    }

    async fn of(plan: Vec<(String, Vec<&'static str>)>, settings: &[(&'static str, &'static str)]) -> Result<Self> {
        let exclusive = EXCLUSIVE.lock().await;
        let listeners = plan.iter().flat_map(|(name, services)| {
            let name = name.clone();
            services.iter().map(move |service| (name.clone(), *service))
        });
        let mut fleet = Self {
            home: Home::new(Profile::Engines).await?,
            ports: listeners.clone().zip(free_ports(listeners.count())?).collect(),
            replicas: Vec::new(),
            settings: settings.to_vec(),
            _exclusive: exclusive,
        };
        // Two start concurrently, so that both find no tables.
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
        stock_up(fleet.addresses("inventory")[0]).await?;
        Ok(fleet)
    }

    async fn start(&self, name: &str, services: &[&str]) -> Result<ShopProcess> {
        let mut serve = self.home.command(BINARY);
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
            Ok(process.health().await?.status == StatusCode::OK)
        })
        .await
        .with_context(|| name.to_owned())?;
        Ok(process)
    }

    /// The addresses of the replicas of a service, running or not.
    pub(super) fn addresses(&self, service: &str) -> Vec<SocketAddr> {
        let of = self.ports.iter().filter(|((_, other), _)| *other == service);
        let host = if service == "gateway" {
            Ipv4Addr::LOCALHOST
        } else {
            GRPC_HOST
        };
        of.map(|(_, port)| SocketAddr::from((host, *port))).collect()
    }

    /// Stops a process gracefully; returns its standard error.
    pub(super) async fn stop(&mut self, index: usize) -> Result<String> {
        let replica = &mut self.replicas[index];
        let process = replica.process.take().context("it does not run")?;
        let (status, stderr) = process.stop().await?;
        ensure!(status.success(), "{} ended with {status}: {stderr}", replica.name);
        // The log explains a failure of the test.
        for line in stderr.lines() {
            println!("    {}: {line}", replica.name);
        }
        Ok(stderr)
    }

    pub(super) async fn kill(&mut self, index: usize) -> Result<()> {
        let process = self.replicas[index].process.take().context("it does not run")?;
        process.kill().await
    }

    pub(super) fn process(&self, index: usize) -> Result<&ShopProcess> {
        self.replicas[index].process.as_ref().context("it does not run")
    }

    pub(super) async fn start_again(&mut self, index: usize) -> Result<()> {
        let (name, services) = (self.replicas[index].name.clone(), self.replicas[index].services.clone());
        self.replicas[index].process = Some(self.start(&name, &services).await?);
        Ok(())
    }

    /// Stops all processes, the last one first; returns the standard error of each.
    pub(super) async fn close(&mut self) -> Result<Vec<String>> {
        let mut stderr = Vec::new();
        for index in (0..self.replicas.len()).rev() {
            stderr.push(self.stop(index).await?);
        }
        Ok(stderr)
    }

    /// The index of the process with this name.
    pub(super) fn index(&self, name: &str) -> Result<usize> {
        let found = self.replicas.iter().position(|replica| replica.name == name);
        found.with_context(|| format!("there is no {name}"))
    }

    /// A customer of the first gateway.
    pub(super) fn customer(&self, name: &str) -> Result<cartwright::http::Customer> {
        customer(self.addresses("gateway")[0], name)
    }
}

/// Ports that a process can bind again after a restart: below the ephemeral range of the system.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let mut held = Vec::new();
    for _ in 0..10 * count {
        // All listeners stay open until the end, so that the ports differ.
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, fastrand::u16(20_000..32_000))) {
            held.push(listener);
        }
        if held.len() == count {
            return held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect();
        }
    }
    anyhow::bail!("there are no {count} free ports")
}
