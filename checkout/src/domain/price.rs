//! Makes a purchase of a cart: checks what the customer was shown, and freezes the current prices.

use std::collections::BTreeMap;

use money::{Money, MoneyError, Quantity};

use super::{CartRef, CheckoutId, CheckoutRequest, Line, ProductId, Purchase};

/// The most lines of a purchase: catalogue and inventory take no more in one call. A cart may have more lines after
/// other checkouts gave pieces back.
pub const MAX_LINES: usize = 100;

/// A line of a cart, with the price that the customer saw when adding it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CartLine {
    pub product: ProductId,
    pub quantity: Quantity,
    pub seen_price: Money,
}

/// What a purchase needs to know of a cart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CartView {
    pub cart: CartRef,
    /// The free lines: no checkout holds them.
    pub lines: Vec<CartLine>,
    /// The checkouts that hold pieces of this cart.
    pub holders: Vec<CheckoutId>,
}

/// The current name and price of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PricedProduct {
    pub name: String,
    pub price: Money,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriceChange {
    pub product: ProductId,
    pub old: Money,
    pub new: Money,
}

/// Why a cart cannot be bought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CartRefusal {
    Empty,
    /// The customer was shown another version of the cart.
    VersionMismatch {
        current: i64,
    },
    TooManyLines {
        max: usize,
    },
    /// `accept_price_changes` needs an expected total.
    MissingTotal,
    /// The catalogue no longer has these products.
    ProductsUnavailable(Vec<ProductId>),
    /// The purchase would cost `total`, but the customer was shown other prices or another total.
    PriceChanged {
        changes: Vec<PriceChange>,
        total: Money,
    },
    /// The total is out of range.
    InvalidTotal(MoneyError),
}

impl CartView {
    /// The checks that need no current prices.
    pub fn check(&self, request: &CheckoutRequest) -> Result<(), CartRefusal> {
        let current = self.cart.version;
        if request.cart_version.is_some_and(|shown| shown != current) {
            return Err(CartRefusal::VersionMismatch { current });
        }
        if request.accept_price_changes && request.expected_total.is_none() {
            return Err(CartRefusal::MissingTotal);
        }
        match self.lines.len() {
            0 => Err(CartRefusal::Empty),
            1..=MAX_LINES => Ok(()),
            _ => Err(CartRefusal::TooManyLines { max: MAX_LINES }),
        }
    }

    /// Freezes the lines at these current prices, if the customer agreed to them.
    pub fn freeze(
        &self,
        prices: &BTreeMap<ProductId, PricedProduct>,
        request: &CheckoutRequest,
    ) -> Result<Purchase, CartRefusal> {
        self.check(request)?;
        let (mut lines, mut unavailable, mut changes) = (Vec::new(), Vec::new(), Vec::new());
        for line in &self.lines {
            let Some(PricedProduct { name, price }) = prices.get(&line.product) else {
                unavailable.push(line.product);
                continue;
            };
            if *price != line.seen_price {
                changes.push(PriceChange {
                    product: line.product,
                    old: line.seen_price,
                    new: *price,
                });
            }
            lines.push(Line {
                product: line.product,
                name: name.clone(),
                quantity: line.quantity,
                unit_price: *price,
            });
        }
        if !unavailable.is_empty() {
            return Err(CartRefusal::ProductsUnavailable(unavailable));
        }
        let purchase = Purchase::new(lines, self.cart).map_err(CartRefusal::InvalidTotal)?;
        let total_differs = request
            .expected_total
            .is_some_and(|shown| !shown.matches(purchase.total));
        if total_differs || (!changes.is_empty() && !request.accept_price_changes) {
            return Err(CartRefusal::PriceChanged {
                changes,
                total: purchase.total,
            });
        }
        Ok(purchase)
    }
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

    fn catalogue(products: &[(i64, i64)]) -> BTreeMap<ProductId, PricedProduct> {
        let priced = |&(id, price)| {
            (
                ProductId::new(id).unwrap(),
                PricedProduct {
                    name: format!("p{id}"),
                    price: Money::usd(price),
                },
            )
        };
        products.iter().map(priced).collect()
    }

    /// A request with this expected total.
    fn request(accept_price_changes: bool, total: Option<i64>) -> CheckoutRequest {
        let expected = |minor_units| ExpectedTotal {
            minor_units,
            currency: None,
        };
        CheckoutRequest {
            user: UserId::new("u").unwrap(),
            key: IdempotencyKey::new("k").unwrap(),
            method: PaymentMethod::new("pm_card_ok").unwrap(),
            accept_price_changes,
            expected_total: total.map(expected),
            cart_version: None,
        }
    }

    fn plain_request() -> CheckoutRequest {
        request(false, None)
    }

    #[test]
    fn a_cart_is_bought_at_the_current_prices() {
        let (cart, now) = (cart(&[(1, 2, 100), (2, 1, 50)]), catalogue(&[(1, 100), (2, 50)]));
        for request in [plain_request(), request(false, Some(250)), request(true, Some(250))] {
            let purchase = cart.freeze(&now, &request).unwrap();
            assert_eq!(
                (purchase.total, purchase.cart.version, purchase.lines.len()),
                (Money::usd(250), 3, 2)
            );
        }
    }

    #[test]
    fn a_customer_never_pays_a_price_that_was_not_shown() {
        let (cart, now) = (cart(&[(1, 2, 100)]), catalogue(&[(1, 120)]));
        let change = PriceChange {
            product: ProductId::new(1).unwrap(),
            old: Money::usd(100),
            new: Money::usd(120),
        };
        let refused = CartRefusal::PriceChanged {
            changes: vec![change],
            total: Money::usd(240),
        };
        let others = [
            plain_request(),
            request(false, Some(240)),
            request(true, Some(200)),
            request(true, Some(241)),
        ];
        for other in others {
            assert_eq!(cart.freeze(&now, &other).as_ref(), Err(&refused), "{other:?}");
        }
        assert_eq!(
            cart.freeze(&now, &request(true, Some(240))).unwrap().total,
            Money::usd(240)
        );
        assert_eq!(cart.freeze(&now, &request(true, None)), Err(CartRefusal::MissingTotal));
        let unchanged = cart.freeze(&catalogue(&[(1, 100)]), &request(false, Some(100)));
        let refused = CartRefusal::PriceChanged {
            changes: Vec::new(),
            total: Money::usd(200),
        };
        assert_eq!(unchanged, Err(refused), "the cart grew since the total was shown");
    }

    #[test]
    fn a_total_in_another_currency_does_not_match() {
        let euro = ExpectedTotal {
            minor_units: 100,
            currency: Some("EUR".parse().unwrap()),
        };
        let dollar = ExpectedTotal {
            currency: Some(Money::usd(1).currency()),
            ..euro
        };
        assert!(dollar.matches(Money::usd(100)) && !euro.matches(Money::usd(100)));
    }

    #[test]
    fn a_cart_of_another_version_than_the_shown_one_is_refused() {
        let (cart, now) = (cart(&[(1, 1, 1)]), catalogue(&[(1, 1)]));
        let of_version = |version| CheckoutRequest {
            cart_version: Some(version),
            ..plain_request()
        };
        assert!(cart.freeze(&now, &of_version(3)).is_ok());
        let refused = CartRefusal::VersionMismatch { current: 3 };
        assert_eq!(cart.freeze(&now, &of_version(2)), Err(refused.clone()));
        assert_eq!(
            super::tests::cart(&[]).check(&of_version(2)),
            Err(refused),
            "checked before emptiness"
        );
    }

    #[test]
    fn an_empty_a_too_long_and_an_unpriced_cart_cannot_be_bought() {
        assert_eq!(
            cart(&[]).freeze(&catalogue(&[]), &plain_request()),
            Err(CartRefusal::Empty)
        );
        assert_eq!(
            cart(&[(9, 1, 1)]).freeze(&catalogue(&[]), &request(true, Some(1))),
            Err(CartRefusal::ProductsUnavailable(vec![ProductId::new(9).unwrap()]))
        );
        let expensive = catalogue(&[(1, i64::MAX)]);
        assert_eq!(
            cart(&[(1, 2, i64::MAX)]).freeze(&expensive, &plain_request()),
            Err(CartRefusal::InvalidTotal(MoneyError::Overflow))
        );
        let long: Vec<_> = (1..=101).map(|id| (id, 1, 1)).collect();
        assert_eq!(
            cart(&long).check(&plain_request()),
            Err(CartRefusal::TooManyLines { max: 100 })
        );
        assert_eq!(cart(&long[1..]).check(&plain_request()), Ok(()));
    }
}
