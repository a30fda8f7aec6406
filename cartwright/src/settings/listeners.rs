//! Where the listeners of a process bind.

use std::net::IpAddr;

use clap::Args;

use super::{ServiceName, by_service};

by_service! {
    /// Where the gRPC listeners bind.
    Ports: u16, "The port of this service's gRPC listener" {
        product_port = "50051" for Product,
        cart_port = "50052" for Cart,
        inventory_port = "50053" for Inventory,
        payment_port = "50054" for Payment,
        orders_port = "50055" for Orders,
        checkout_port = "50056" for Checkout,
        notification_port = "50057" for Notification
    }
}

/// Hosts and ports.
#[derive(Debug, Clone, Args)]
#[allow(clippy::struct_field_names, reason = "the names are those of the variables")]
pub struct ListenAddresses {
    /// The address that all listeners bind.
    #[arg(long, env, default_value = "127.0.0.1", global = true)]
    pub host: IpAddr,
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
    /// The same hosts, with a free port for each listener.
    #[must_use]
    pub fn on_free_ports(self) -> Self {
        Self {
            http_port: 0,
            admin_port: 0,
            ports: Ports {
                product_port: 0,
                cart_port: 0,
                inventory_port: 0,
                payment_port: 0,
                orders_port: 0,
                checkout_port: 0,
                notification_port: 0,
            },
            ..self
        }
    }
}
