//! The table of services: name, listener, store, use of events.

use clap::ValueEnum;
use proto::events::{CART_GROUP, NOTIFICATION_GROUP, ORDERS_GROUP};

use crate::settings::variable_of;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum ServiceName {
    Product,
    Cart,
    Inventory,
    Payment,
    Checkout,
    Orders,
    Notification,
    Gateway,
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Definition {
    /// The name in commands.
    pub name: &'static str,
    pub listener: Listener,
    pub store: Store,
    pub events: Events,
}

/// Where a service listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// HTTP, at `HTTP_PORT`.
    Http,
    Grpc {
        /// The variable of the port.
        port: &'static str,
        default: u16,
        /// The variable of the address at which other processes reach this service.
        address: &'static str,
    },
}

/// Where a service stores its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    None,
    /// SQLite or PostgreSQL. `url` is the variable of the service's own database, `file` that of a file with this URL.
    Relational {
        url: &'static str,
        file: &'static str,
    },
    /// SQLite or MongoDB, with a cache in memory or in Redis.
    Carts,
}

/// How a service uses events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Events {
    None,
    Publishes,
    /// As a member of these consumer groups.
    Consumes(&'static [&'static str]),
}

const fn grpc(port: &'static str, default: u16, address: &'static str) -> Listener {
    Listener::Grpc { port, default, address }
}

/// `file` is the variable of a file with the URL of the service's own database.
const fn relational(file: &'static str) -> Store {
    Store::Relational {
        url: variable_of(file),
        file,
    }
}

impl ServiceName {
    pub const ALL: [Self; 8] = [
        Self::Product,
        Self::Cart,
        Self::Inventory,
        Self::Payment,
        Self::Checkout,
        Self::Orders,
        Self::Notification,
        Self::Gateway,
    ];

    pub const fn definition(self) -> Definition {
        match self {
            Self::Product => Definition {
                name: "product",
                listener: grpc("PRODUCT_PORT", 50051, "PRODUCT_SERVICE_ADDR"),
                store: relational("PRODUCT_DATABASE_URL_FILE"),
                events: Events::None,
            },
            Self::Cart => Definition {
                name: "cart",
                listener: grpc("CART_PORT", 50052, "CART_SERVICE_ADDR"),
                store: Store::Carts,
                events: Events::Consumes(&[CART_GROUP]),
            },
            Self::Inventory => Definition {
                name: "inventory",
                listener: grpc("INVENTORY_PORT", 50053, "INVENTORY_SERVICE_ADDR"),
                store: relational("INVENTORY_DATABASE_URL_FILE"),
                events: Events::None,
            },
            Self::Payment => Definition {
                name: "payment",
                listener: grpc("PAYMENT_PORT", 50054, "PAYMENT_SERVICE_ADDR"),
                store: relational("PAYMENT_DATABASE_URL_FILE"),
                events: Events::None,
            },
            Self::Checkout => Definition {
                name: "checkout",
                listener: grpc("CHECKOUT_PORT", 50056, "CHECKOUT_SERVICE_ADDR"),
                store: relational("CHECKOUT_DATABASE_URL_FILE"),
                events: Events::Publishes,
            },
            Self::Orders => Definition {
                name: "orders",
                listener: grpc("ORDERS_PORT", 50055, "ORDERS_SERVICE_ADDR"),
                store: relational("ORDERS_DATABASE_URL_FILE"),
                events: Events::Consumes(&[ORDERS_GROUP]),
            },
            Self::Notification => Definition {
                name: "notification",
                listener: grpc("NOTIFICATION_PORT", 50057, "NOTIFICATION_SERVICE_ADDR"),
                store: relational("NOTIFICATION_DATABASE_URL_FILE"),
                events: Events::Consumes(&[NOTIFICATION_GROUP]),
            },
            Self::Gateway => Definition {
                name: "gateway",
                listener: Listener::Http,
                store: Store::None,
                events: Events::None,
            },
        }
    }

    pub const fn as_str(self) -> &'static str {
        self.definition().name
    }

    /// Whether this service publishes or consumes events.
    pub const fn uses_events(self) -> bool {
        !matches!(self.definition().events, Events::None)
    }

    /// The consumer groups of this service.
    pub const fn groups(self) -> &'static [&'static str] {
        match self.definition().events {
            Events::Consumes(groups) => groups,
            Events::None | Events::Publishes => &[],
        }
    }

    /// The variable of the address at which other processes reach this service.
    pub const fn address_variable(self) -> Option<&'static str> {
        match self.definition().listener {
            Listener::Grpc { address, .. } => Some(address),
            Listener::Http => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_relational_service_has_a_variable_for_its_database() {
        let url = |service: ServiceName| match service.definition().store {
            Store::Relational { url, .. } => Some(url),
            Store::Carts | Store::None => None,
        };
        let urls: Vec<_> = ServiceName::ALL.into_iter().filter_map(url).collect();
        let expected = [
            "PRODUCT_DATABASE_URL",
            "INVENTORY_DATABASE_URL",
            "PAYMENT_DATABASE_URL",
            "CHECKOUT_DATABASE_URL",
            "ORDERS_DATABASE_URL",
            "NOTIFICATION_DATABASE_URL",
        ];
        assert_eq!(urls, expected);
    }
}
