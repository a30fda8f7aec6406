//! From a cart to a purchase: which prices count.

use std::collections::BTreeMap;

use money::{Money, MoneyError, Quantity};

use super::{Line, ProductId, Purchase};

/// A line of a cart, at the price that its customer saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CartLine {
    pub product: ProductId,
    pub quantity: Quantity,
    pub seen_price: Money,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CartView {
    pub lines: Vec<CartLine>,
    pub version: i64,
}

/// A product as the catalogue has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Priced {
    pub name: String,
    pub price: Money,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriceChange {
    pub product: ProductId,
    pub old: Money,
    pub new: Money,
}

/// Why a cart cannot be bought. Nothing has happened then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    Empty,
    /// These are not sold any more.
    Gone(Vec<ProductId>),
    PriceChanged(Vec<PriceChange>),
    /// The total is none that can be charged.
    Total(MoneyError),
}

/// Freezes a cart at the current prices.
pub fn freeze(
    cart: &CartView,
    current: &BTreeMap<ProductId, Priced>,
    accept_price_changes: bool,
) -> Result<Purchase, Refusal> {
    if cart.lines.is_empty() {
        return Err(Refusal::Empty);
    }
    let (mut lines, mut gone, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    for CartLine {
        product,
        quantity,
        seen_price,
    } in &cart.lines
    {
        let Some(Priced { name, price }) = current.get(product) else {
            gone.push(*product);
            continue;
        };
        if price != seen_price {
            changes.push(PriceChange {
                product: *product,
                old: *seen_price,
                new: *price,
            });
        }
        lines.push(Line {
            product: *product,
            name: name.clone(),
            quantity: *quantity,
            unit_price: *price,
        });
    }
    if !gone.is_empty() {
        return Err(Refusal::Gone(gone));
    }
    if !changes.is_empty() && !accept_price_changes {
        return Err(Refusal::PriceChanged(changes));
    }
    Purchase::new(lines, cart.version).map_err(Refusal::Total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cart(lines: &[(i64, i64, i64)]) -> CartView {
        let line = |&(product, quantity, price)| CartLine {
            product: ProductId(product),
            quantity: Quantity::new(quantity).unwrap(),
            seen_price: Money::usd(price),
        };
        CartView {
            lines: lines.iter().map(line).collect(),
            version: 3,
        }
    }

    fn catalogue(products: &[(i64, i64)]) -> BTreeMap<ProductId, Priced> {
        let priced = |&(id, price)| {
            (
                ProductId(id),
                Priced {
                    name: format!("p{id}"),
                    price: Money::usd(price),
                },
            )
        };
        products.iter().map(priced).collect()
    }

    #[test]
    fn a_cart_is_bought_at_the_current_prices() {
        let purchase = freeze(
            &cart(&[(1, 2, 100), (2, 1, 50)]),
            &catalogue(&[(1, 100), (2, 50)]),
            false,
        )
        .unwrap();
        assert_eq!(
            (purchase.total, purchase.cart_version, purchase.lines.len()),
            (Money::usd(250), 3, 2)
        );
    }

    #[test]
    fn a_changed_price_is_refused_unless_it_is_accepted() {
        let change = PriceChange {
            product: ProductId(1),
            old: Money::usd(100),
            new: Money::usd(120),
        };
        let now = catalogue(&[(1, 120)]);
        assert_eq!(
            freeze(&cart(&[(1, 2, 100)]), &now, false),
            Err(Refusal::PriceChanged(vec![change]))
        );
        assert_eq!(
            freeze(&cart(&[(1, 2, 100)]), &now, true).unwrap().total,
            Money::usd(240)
        );
    }

    #[test]
    fn nothing_and_what_is_gone_cannot_be_bought() {
        assert_eq!(freeze(&cart(&[]), &catalogue(&[]), false), Err(Refusal::Empty));
        assert_eq!(
            freeze(&cart(&[(9, 1, 1)]), &catalogue(&[]), true),
            Err(Refusal::Gone(vec![ProductId(9)]))
        );
        let dear = catalogue(&[(1, i64::MAX)]);
        assert_eq!(
            freeze(&cart(&[(1, 2, i64::MAX)]), &dear, false),
            Err(Refusal::Total(MoneyError::Overflow))
        );
    }
}
