//! The scenarios, a file each: what is made ready, what is done, and how it must end.

mod browsing;
mod cart_away;
mod declined;
mod delivery;
mod duplicate;
mod erasure;
mod hold_lost;
mod long_ago;
mod out_of_stock;
mod provider_down;
mod reply_lost;
mod stock_away;
mod success;
mod taken_up;

use super::scenario::Scenario;

/// All of them.
pub(super) const ALL: [&dyn Scenario; 14] = [
    &success::Success,
    &out_of_stock::OutOfStock,
    &declined::Declined,
    &reply_lost::ReplyLost,
    &duplicate::Duplicate,
    &provider_down::ProviderDown,
    &hold_lost::HoldLost,
    &taken_up::TakenUp,
    &stock_away::StockAway,
    &cart_away::CartAway,
    &browsing::Browsing,
    &delivery::Delivery,
    &long_ago::LongAgo,
    &erasure::Erasure,
];
