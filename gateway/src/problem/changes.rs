//! Prices that changed since they went into the cart.

use money::Amount;
use serde::{Deserialize, Serialize};

/// One line's change, as clients see it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct PriceChange {
    product_id: i64,
    old_price: Amount,
    new_price: Amount,
}

/// One line's change, as the checkout service writes it into its status.
#[derive(Deserialize)]
struct Wire {
    product_id: i64,
    old_minor: i64,
    new_minor: i64,
}

/// Reads the `changes` of a status; `None` when they are not what they should be.
pub(super) fn read(json: &str) -> Option<Vec<PriceChange>> {
    let wire: Vec<Wire> = serde_json::from_str(json)
        .inspect_err(|error| tracing::error!(%error, "the changes in a status cannot be read"))
        .ok()?;
    let change = |w: Wire| PriceChange {
        product_id: w.product_id,
        old_price: Amount(w.old_minor),
        new_price: Amount(w.new_minor),
    };
    Some(wire.into_iter().map(change).collect())
}
