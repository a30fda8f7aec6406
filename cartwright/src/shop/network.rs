//! The channels between services.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context;
use runtime::{
    Faults, Points, Probe,
    channel::{Incoming, Peer, Policy},
    config::{ConfigError, is_host_and_port},
    deadlines,
};

use super::StartError;
use crate::{Config, ServiceName, settings::Settings};

/// A channel to every service: in memory within this process, over TCP to other processes.
pub(super) struct Network {
    peers: BTreeMap<ServiceName, Peer>,
    incoming: BTreeMap<ServiceName, Incoming>,
}

impl Network {
    pub(super) fn new(config: &Config, faults: Faults) -> Result<Self, ConfigError> {
        let policy = Policy {
            deadline: deadlines::CALL,
            points: config.points.clone(),
            faults,
        };
        let (mut peers, mut incoming) = (BTreeMap::new(), BTreeMap::new());
        for service in ServiceName::ALL {
            let address = config.settings.addresses.of(service);
            let (Some(variable), Some(address)) = (service.address_variable(), address) else {
                continue;
            };
            if config.runs(service) {
                let (peer, connections) = Peer::in_process(policy.clone());
                peers.insert(service, peer);
                incoming.insert(service, connections);
            } else {
                peers.insert(service, tcp_peer((variable, address), policy.clone())?);
            }
        }
        Ok(Self { peers, incoming })
    }

    /// The channel to a gRPC service.
    pub(super) fn peer(&self, service: ServiceName) -> Peer {
        self.peers[&service].clone()
    }

    /// The in-memory connections to a service of this process.
    pub(super) fn incoming(&mut self, service: ServiceName) -> Result<Incoming, StartError> {
        Ok(self
            .incoming
            .remove(&service)
            .with_context(|| format!("{} is not in this process", service.as_str()))?)
    }

    pub(super) fn checkout(&self) -> checkout::Peers {
        checkout::Peers {
            product: self.peer(ServiceName::Product),
            cart: self.peer(ServiceName::Cart),
            inventory: self.peer(ServiceName::Inventory),
            payment: self.peer(ServiceName::Payment),
        }
    }

    /// Whether the gateway reaches the services that it calls in other processes. Each is optional, because the gateway
    /// can serve the rest; the gateway is not ready only if all of them are away.
    pub(super) fn gateway_probes(&self, config: &Config) -> Vec<Probe> {
        let called = [
            ServiceName::Product,
            ServiceName::Cart,
            ServiceName::Checkout,
            ServiceName::Orders,
        ];
        let remote = called.into_iter().filter(|service| !config.runs(*service));
        let mut probes: Vec<_> = remote
            .map(|service| Probe::of_peer(service.as_str(), self.peer(service)).optional())
            .collect();
        if probes.len() == called.len() {
            probes.push(Probe::any("any-service", probes.clone()));
        }
        probes
    }

    pub(super) fn gateway(&self) -> gateway::Peers {
        gateway::Peers {
            product: self.peer(ServiceName::Product),
            cart: self.peer(ServiceName::Cart),
            checkout: self.peer(ServiceName::Checkout),
            orders: self.peer(ServiceName::Orders),
        }
    }
}

/// The channel to a service in another process.
fn tcp_peer((variable, address): (&'static str, &str), policy: Policy) -> Result<Peer, ConfigError> {
    // The error does not repeat the value, which may contain a login.
    let wrong = || ConfigError::new(variable, "must read like host:50051, more with commas between them");
    if !address.split(',').all(|replica| is_host_and_port(replica.trim())) {
        return Err(wrong());
    }
    Peer::tcp(address, policy).map_err(|_| wrong())
}

/// The channel of a command to a service of a running shop.
pub(crate) fn running_peer(service: ServiceName, settings: &Settings, deadline: Duration) -> Result<Peer, StartError> {
    let policy = Policy {
        deadline,
        points: Points::none(),
        faults: Faults::none(),
    };
    let address = service.address_variable().zip(settings.addresses.of(service));
    let (variable, address) = address.with_context(|| format!("{} is not called over gRPC", service.as_str()))?;
    Ok(tcp_peer((variable, address), policy)?)
}
