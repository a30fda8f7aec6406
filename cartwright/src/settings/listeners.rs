//! The addresses of the listeners.

use std::net::IpAddr;

use clap::{Args, ValueEnum};
use runtime::config::ConfigError;

use super::{Ports, ServiceName};

/// Where connections without encryption and credentials are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Plaintext {
    /// In a network where only the shop's own processes can connect.
    TrustedNetwork,
}

/// Hosts and ports.
#[derive(Debug, Clone, Args)]
#[allow(clippy::struct_field_names, reason = "the names are those of the variables")]
pub struct ListenAddresses {
    /// The address that the gateway binds.
    #[arg(long, env, default_value = "127.0.0.1", global = true)]
    pub host: IpAddr,
    /// The address that the gRPC listeners of the services bind. They ask for no credentials.
    #[arg(long, env, default_value = "127.0.0.1", global = true)]
    pub grpc_host: IpAddr,
    /// The address that the health listener binds.
    #[arg(long, env, default_value = "127.0.0.1", global = true)]
    pub admin_host: IpAddr,
    /// Allows `GRPC_HOST` and `ADMIN_HOST` beyond loopback, without encryption and credentials: only where none but the
    /// shop's own processes can connect.
    #[arg(long, env, global = true)]
    pub grpc_plaintext: Option<Plaintext>,
    /// The gateway's port. Like for all ports, 0 picks a free one.
    #[arg(long, env, default_value_t = 8080, global = true)]
    pub http_port: u16,
    /// The port of `/health/live` and `/health/ready` of the process.
    #[arg(long, env, default_value_t = 9090, global = true)]
    pub admin_port: u16,
    #[command(flatten)]
    pub ports: Ports,
}

impl ListenAddresses {
    /// Refuses a listener without credentials beyond loopback, unless `GRPC_PLAINTEXT` allows it.
    pub(super) fn check(&self, services: &[ServiceName]) -> Result<(), ConfigError> {
        let serves = services.iter().any(|service| self.ports.of(*service).is_some());
        for (variable, host, is_used) in [
            ("GRPC_HOST", self.grpc_host, serves),
            ("ADMIN_HOST", self.admin_host, true),
        ] {
            if is_used && !is_loopback(host) && self.grpc_plaintext.is_none() {
                return Err(ConfigError::new(
                    variable,
                    format!(
                        "{host} is open to a network, without encryption and credentials; use 127.0.0.1, or set \
                         GRPC_PLAINTEXT=trusted-network if only the shop's own processes can connect there"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// The same hosts, with port 0 for each listener.
    #[must_use]
    pub fn on_free_ports(mut self) -> Self {
        (self.http_port, self.admin_port) = (0, 0);
        self.ports.values_mut().for_each(|port| *port = 0);
        self
    }
}

/// Whether only this machine reaches the address.
pub(crate) fn is_loopback(host: IpAddr) -> bool {
    host.to_canonical().is_loopback()
}
