//! Conversions between wire and domain.

use money::Quantity;
use proto::{
    Reason,
    convert::{idempotency_key, product_id},
    inventory::v1 as wire,
    status::Refusal,
};

use crate::domain::{Delivery, Lines, ProductId, Stock};

const MAX_LINES: usize = 100;
const MAX_PRODUCTS: usize = 1_000;

pub(super) fn stock(stock: Stock) -> wire::Stock {
    wire::Stock {
        product_id: stock.product.get(),
        on_hand: stock.on_hand,
        held: stock.held,
        available: stock.available(),
    }
}

pub(super) fn product_ids(ids: &[i64]) -> Result<Vec<ProductId>, Refusal> {
    if ids.len() > MAX_PRODUCTS {
        return Err(Refusal::field(
            "product_ids",
            format!("at most {MAX_PRODUCTS} products can be asked for at once"),
        ));
    }
    ids.iter()
        .enumerate()
        .map(|(i, id)| product_id(&format!("product_ids[{i}]"), *id))
        .collect()
}

pub(super) fn lines(lines: &[wire::Line]) -> Result<Lines, Refusal> {
    if lines.is_empty() || lines.len() > MAX_LINES {
        return Err(Refusal::field("lines", format!("there must be 1 to {MAX_LINES} lines")));
    }
    let line = |(i, line): (usize, &wire::Line)| {
        let field = format!("lines[{i}].product_id");
        // Checkouts of earlier versions may have ids above the maximum of new requests.
        let product = ProductId::new(line.product_id).map_or_else(|| product_id(&field, line.product_id), Ok)?;
        Ok((product, quantity(&format!("lines[{i}].quantity"), line.quantity)?))
    };
    let lines = lines
        .iter()
        .enumerate()
        .map(line)
        .collect::<Result<Vec<_>, Refusal>>()?;
    Lines::add_up(lines).map_err(|_| invalid_quantity("lines"))
}

pub(super) fn delivery(request: &wire::AddStockRequest) -> Result<Delivery, Refusal> {
    Ok(Delivery {
        product: product_id("product_id", request.product_id)?,
        quantity: quantity("quantity", request.quantity)?,
        key: idempotency_key(&request.idempotency_key)?,
    })
}

fn quantity(field: &str, pieces: i64) -> Result<Quantity, Refusal> {
    Quantity::new(pieces).map_err(|_| invalid_quantity(field))
}

fn invalid_quantity(field: &str) -> Refusal {
    let message = format!(
        "a quantity must be between 1 and {}, all lines of a product together",
        Quantity::MAX
    );
    Refusal::new(Reason::InvalidQuantity, message).at(field)
}
