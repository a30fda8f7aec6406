//! From a cart to a purchase: which prices count.

use std::collections::BTreeMap;

use money::{Money, MoneyError, Quantity};

use super::{CartRef, CheckoutId, Line, ProductId, Purchase, Request};

/// Lines of a purchase, at most: as many as the catalogue and the stock take at once. Pieces that came back from other
/// checkouts can make a cart longer.
pub const MAX_LINES: usize = 100;

/// A line of a cart, at the price that its customer saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CartLine {
    pub product: ProductId,
    pub quantity: Quantity,
    pub seen_price: Money,
}

/// A cart as a purchase needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CartView {
    pub cart: CartRef,
    /// What is free.
    pub lines: Vec<CartLine>,
    /// The checkouts that hold pieces of it.
    pub holders: Vec<CheckoutId>,
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
    /// The customer was shown another version of the cart than this one.
    OtherVersion {
        current: i64,
    },
    TooLong {
        max: usize,
    },
    /// Changed prices are accepted only together with a total.
    NoTotal,
    /// These are not sold any more.
    Gone(Vec<ProductId>),
    /// The purchase would cost `total`, and the customer was shown something else: prices that have changed, or another
    /// total.
    PriceChanged {
        changes: Vec<PriceChange>,
        total: Money,
    },
    /// The total is none that can be charged.
    Total(MoneyError),
}

impl CartView {
    /// Whether it is what the customer was shown, as far as that needs no prices, and can be bought at all.
    pub fn check(&self, request: &Request) -> Result<(), Refusal> {
        let current = self.cart.version;
        if request.cart_version.is_some_and(|shown| shown != current) {
            return Err(Refusal::OtherVersion { current });
        }
        if request.accept_price_changes && request.expected_total.is_none() {
            return Err(Refusal::NoTotal);
        }
        match self.lines.len() {
            0 => Err(Refusal::Empty),
            1..=MAX_LINES => Ok(()),
            _ => Err(Refusal::TooLong { max: MAX_LINES }),
        }
    }
}

/// Freezes a cart at the current prices, if they are what its customer agreed to.
pub fn freeze(cart: &CartView, current: &BTreeMap<ProductId, Priced>, request: &Request) -> Result<Purchase, Refusal> {
    cart.check(request)?;
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
    let purchase = Purchase::new(lines, cart.cart).map_err(Refusal::Total)?;
    let is_another_total = request.expected_total.is_some_and(|shown| !shown.is(purchase.total));
    if is_another_total || (!changes.is_empty() && !request.accept_price_changes) {
        return Err(Refusal::PriceChanged {
            changes,
            total: purchase.total,
        });
    }
    Ok(purchase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ExpectedTotal, IdempotencyKey, PaymentMethod, UserId};

    fn cart(lines: &[(i64, i64, i64)]) -> CartView {
        let line = |&(product, quantity, price)| CartLine {
            product: ProductId::new(product).unwrap(),
            quantity: Quantity::new(quantity).unwrap(),
            seen_price: Money::usd(price),
        };
        CartView {
            cart: CartRef { id: None, version: 3 },
            lines: lines.iter().map(line).collect(),
            holders: Vec::new(),
        }
    }

    fn catalogue(products: &[(i64, i64)]) -> BTreeMap<ProductId, Priced> {
        let priced = |&(id, price)| {
            (
                ProductId::new(id).unwrap(),
                Priced {
                    name: format!("p{id}"),
                    price: Money::usd(price),
                },
            )
        };
        products.iter().map(priced).collect()
    }

    /// A request that agrees to this total, and to changed prices or not.
    fn request(accept_price_changes: bool, total: Option<i64>) -> Request {
        let expected = |minor_units| ExpectedTotal {
            minor_units,
            currency: None,
        };
        Request {
            user: UserId::new("u").unwrap(),
            key: IdempotencyKey::new("k").unwrap(),
            method: PaymentMethod::new("pm_card_ok").unwrap(),
            accept_price_changes,
            expected_total: total.map(expected),
            cart_version: None,
        }
    }

    fn as_seen() -> Request {
        request(false, None)
    }

    #[test]
    fn a_cart_is_bought_at_the_current_prices() {
        let (cart, now) = (cart(&[(1, 2, 100), (2, 1, 50)]), catalogue(&[(1, 100), (2, 50)]));
        for request in [as_seen(), request(false, Some(250)), request(true, Some(250))] {
            let purchase = freeze(&cart, &now, &request).unwrap();
            assert_eq!(
                (purchase.total, purchase.cart.version, purchase.lines.len()),
                (Money::usd(250), 3, 2)
            );
        }
    }

    #[test]
    fn nobody_pays_what_they_were_not_shown() {
        let (cart, now) = (cart(&[(1, 2, 100)]), catalogue(&[(1, 120)]));
        let change = PriceChange {
            product: ProductId::new(1).unwrap(),
            old: Money::usd(100),
            new: Money::usd(120),
        };
        let refused = Refusal::PriceChanged {
            changes: vec![change],
            total: Money::usd(240),
        };
        let others = [
            as_seen(),
            request(false, Some(240)),
            request(true, Some(200)),
            request(true, Some(241)),
        ];
        for other in others {
            assert_eq!(freeze(&cart, &now, &other).as_ref(), Err(&refused), "{other:?}");
        }
        assert_eq!(
            freeze(&cart, &now, &request(true, Some(240))).unwrap().total,
            Money::usd(240)
        );
        assert_eq!(freeze(&cart, &now, &request(true, None)), Err(Refusal::NoTotal));
        let unchanged = freeze(&cart, &catalogue(&[(1, 100)]), &request(false, Some(100)));
        let refused = Refusal::PriceChanged {
            changes: Vec::new(),
            total: Money::usd(200),
        };
        assert_eq!(unchanged, Err(refused), "a line that was added since");
    }

    #[test]
    fn a_total_in_another_currency_is_another_total() {
        let euro = ExpectedTotal {
            minor_units: 100,
            currency: Some("EUR".parse().unwrap()),
        };
        let dollar = ExpectedTotal {
            currency: Some(Money::usd(1).currency()),
            ..euro
        };
        assert!(dollar.is(Money::usd(100)) && !euro.is(Money::usd(100)));
    }

    #[test]
    fn a_cart_of_another_version_than_was_shown_is_not_bought() {
        let (cart, now) = (cart(&[(1, 1, 1)]), catalogue(&[(1, 1)]));
        let of_version = |version| Request {
            cart_version: Some(version),
            ..as_seen()
        };
        assert!(freeze(&cart, &now, &of_version(3)).is_ok());
        let refused = Refusal::OtherVersion { current: 3 };
        assert_eq!(freeze(&cart, &now, &of_version(2)), Err(refused.clone()));
        assert_eq!(
            super::tests::cart(&[]).check(&of_version(2)),
            Err(refused),
            "before it is empty"
        );
    }

    #[test]
    fn nothing_and_what_is_gone_cannot_be_bought() {
        assert_eq!(freeze(&cart(&[]), &catalogue(&[]), &as_seen()), Err(Refusal::Empty));
        assert_eq!(
            freeze(&cart(&[(9, 1, 1)]), &catalogue(&[]), &request(true, Some(1))),
            Err(Refusal::Gone(vec![ProductId::new(9).unwrap()]))
        );
        let dear = catalogue(&[(1, i64::MAX)]);
        assert_eq!(
            freeze(&cart(&[(1, 2, i64::MAX)]), &dear, &as_seen()),
            Err(Refusal::Total(MoneyError::Overflow))
        );
        let long: Vec<_> = (1..=101).map(|id| (id, 1, 1)).collect();
        assert_eq!(cart(&long).check(&as_seen()), Err(Refusal::TooLong { max: 100 }));
        assert_eq!(cart(&long[1..]).check(&as_seen()), Ok(()));
    }
}
