//! Binds all ports, before any store is opened.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::Context;
use tokio::net::TcpListener;

use super::StartError;
use crate::{Config, ServiceName, services::Listener};

pub(super) struct Listeners {
    pub(super) admin: TcpListener,
    pub(super) gateway: Option<TcpListener>,
    grpc: BTreeMap<ServiceName, TcpListener>,
}

impl Listeners {
    pub(super) async fn bind(config: &Config) -> Result<Self, StartError> {
        let settings = &config.settings;
        let gateway = if config.runs(ServiceName::Gateway) {
            Some(
                listen(
                    "HTTP_PORT",
                    SocketAddr::new(settings.listen.host, settings.listen.http_port),
                )
                .await?,
            )
        } else {
            None
        };
        let mut grpc = BTreeMap::new();
        for service in &config.services {
            if let Listener::Grpc { port: variable, .. } = service.definition().listener
                && let Some(port) = settings.listen.ports.of(*service)
            {
                let address = SocketAddr::new(settings.listen.grpc_host, *port);
                grpc.insert(*service, listen(variable, address).await?);
            }
        }
        let admin = listen(
            "ADMIN_PORT",
            SocketAddr::new(settings.listen.admin_host, settings.listen.admin_port),
        )
        .await?;
        Ok(Self { admin, gateway, grpc })
    }

    pub(super) fn of(&mut self, service: ServiceName) -> Result<TcpListener, StartError> {
        Ok(self
            .grpc
            .remove(&service)
            .with_context(|| format!("{} is not in this process", service.as_str()))?)
    }
}

async fn listen(variable: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|cause| StartError::Listen {
        variable,
        address,
        cause,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_error_of_a_taken_port_names_its_cause_once_and_the_remedy() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let holder = listen("HTTP_PORT", any).await.unwrap();
        let taken = holder.local_addr().unwrap();
        let refused = listen("HTTP_PORT", taken).await.unwrap_err();
        let text = runtime::telemetry::chain(&refused);
        assert_eq!(text.matches("os error").count(), 1, "{text}");
        assert!(text.starts_with(&format!("HTTP_PORT {taken}: ")), "{text}");
        assert!(
            text.ends_with("; set another HTTP_PORT (0 picks a free port)"),
            "{text}"
        );
    }
}
