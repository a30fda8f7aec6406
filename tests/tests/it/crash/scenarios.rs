//! The scenarios, one file each.

mod browsing;
mod cart_unreadable;
mod declined;
mod delivery;
mod duplicate;
mod erasure;
mod inventory_down;
mod old_data;
mod out_of_stock;
mod provider_down;
mod recovered;
mod reply_lost;
mod reservation_expired;
mod success;

use super::scenario::Scenario;

pub(super) const ALL: [&dyn Scenario; 14] = [
    &success::Success,
    &out_of_stock::OutOfStock,
    &declined::Declined,
    &reply_lost::ReplyLost,
    &duplicate::Duplicate,
    &provider_down::ProviderDown,
    &reservation_expired::ReservationExpired,
    &recovered::Recovered,
    &inventory_down::InventoryDown,
    &cart_unreadable::CartUnreadable,
    &browsing::Browsing,
    &delivery::Delivery,
    &old_data::OldData,
    &erasure::Erasure,
];
