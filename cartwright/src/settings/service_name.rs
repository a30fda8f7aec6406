//! The services, by the names that commands and settings call them.

use clap::ValueEnum;

/// What can be started.
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

    /// Whether it publishes or consumes events.
    pub const fn uses_events(self) -> bool {
        matches!(self, Self::Cart | Self::Checkout | Self::Orders | Self::Notification)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Product => "product",
            Self::Cart => "cart",
            Self::Inventory => "inventory",
            Self::Payment => "payment",
            Self::Checkout => "checkout",
            Self::Orders => "orders",
            Self::Notification => "notification",
            Self::Gateway => "gateway",
        }
    }
}
