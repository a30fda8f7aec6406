//! Holds: a piece is free or held by one checkout, so that no piece is bought twice.

use std::collections::BTreeMap;

use money::{Money, MoneyError, Quantity};

use super::{Cart, CartId, CheckoutId, Line, ProductId, ProductQuantity, Version, total_of};

pub const MAX_HOLDS: usize = 50;

/// The pieces that one checkout holds, with the names and prices of their former lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub checkout: CheckoutId,
    pub lines: Vec<Line>,
}

/// A checkout's request to hold pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldRequest {
    pub checkout: CheckoutId,
    /// The cart that the checkout was made from. `None` for checkouts of versions before holds.
    pub cart: Option<CartId>,
    /// The version of the cart that the checkout was made from.
    pub cart_version: Version,
    pub pieces: Vec<ProductQuantity>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldOutcome {
    Held,
    /// Final: every repetition of the request is refused, too.
    Refused,
}

impl Cart {
    /// Moves pieces from the lines into a hold, all or none. Repeats its answer while the checkout has a hold.
    ///
    /// A hold and a refusal set [`Cart::last_hold`] to the version that stores them. Requests made from an earlier
    /// version are refused, so a late or repeated request takes no pieces that were added since.
    pub fn hold(&mut self, request: &HoldRequest) -> HoldOutcome {
        if let Some(hold) = self.hold_of(request.checkout) {
            let same = pieces(&hold.lines) == sums(&request.pieces);
            return if same { HoldOutcome::Held } else { HoldOutcome::Refused };
        }
        let is_this_cart = self.id.is_some() && request.cart.is_none_or(|cart| self.id == Some(cart));
        if !is_this_cart || self.last_hold > request.cart_version {
            return HoldOutcome::Refused;
        }
        self.last_hold = self.version.next();
        if self.holds.len() >= MAX_HOLDS {
            return HoldOutcome::Refused;
        }
        let Some((left, held)) = split(&self.lines, &sums(&request.pieces)) else {
            return HoldOutcome::Refused;
        };
        self.lines = left;
        self.holds.push(Hold {
            checkout: request.checkout,
            lines: held,
        });
        HoldOutcome::Held
    }

    /// Returns a checkout's pieces to the lines, and does nothing if the checkout has no hold. Lines may exceed 99
    /// pieces afterwards, and the cart 50 lines. Of two names and prices the later ones stay.
    ///
    /// An error means that the stored cart breaks a rule, since no addition may make giving back impossible.
    pub fn give_back(&mut self, checkout: CheckoutId) -> Result<(), MoneyError> {
        let Some(hold) = self.take_hold(checkout) else {
            return Ok(());
        };
        for held in hold.lines {
            match self.lines.iter_mut().find(|line| line.product == held.product) {
                Some(line) => merge(line, held)?,
                None => self.lines.push(held),
            }
        }
        Ok(())
    }

    /// Drops the hold of a completed checkout. False if the checkout has no hold.
    pub fn drop_hold(&mut self, checkout: CheckoutId) -> bool {
        self.take_hold(checkout).is_some()
    }

    fn hold_of(&self, checkout: CheckoutId) -> Option<&Hold> {
        self.holds.iter().find(|hold| hold.checkout == checkout)
    }

    fn take_hold(&mut self, checkout: CheckoutId) -> Option<Hold> {
        let index = self.holds.iter().position(|hold| hold.checkout == checkout)?;
        Some(self.holds.remove(index))
    }
}

/// The highest total that these lines can reach when holds are given back in any order: all pieces of a product at its
/// highest price. If this total can be computed, every hold can be given back.
pub(super) fn max_total(lines: &[Line], holds: &[Hold]) -> Result<Money, MoneyError> {
    let mut by_product: BTreeMap<ProductId, Line> = BTreeMap::new();
    for line in lines.iter().chain(holds.iter().flat_map(|hold| &hold.lines)) {
        let Some(max) = by_product.get_mut(&line.product) else {
            by_product.insert(line.product, line.clone());
            continue;
        };
        max.price.checked_add(line.price)?;
        if line.price.minor_units() > max.price.minor_units() {
            max.price = line.price;
        }
        max.quantity = sum(max.quantity, line.quantity)?;
    }
    total_of(&by_product.into_values().collect::<Vec<_>>())
}

/// The pieces of each product.
fn sums(items: &[ProductQuantity]) -> BTreeMap<ProductId, i64> {
    let mut sums = BTreeMap::new();
    for item in items {
        let sum: &mut i64 = sums.entry(item.product).or_default();
        *sum += item.quantity.get();
    }
    sums
}

fn pieces(lines: &[Line]) -> BTreeMap<ProductId, i64> {
    lines.iter().map(|line| (line.product, line.quantity.get())).collect()
}

/// The lines without these pieces, and these pieces as lines. `None` if the lines have too few.
fn split(lines: &[Line], wanted: &BTreeMap<ProductId, i64>) -> Option<(Vec<Line>, Vec<Line>)> {
    let (mut left, mut held) = (Vec::new(), Vec::new());
    for line in lines {
        let taken = wanted.get(&line.product).copied().unwrap_or_default();
        let part = |quantity: Quantity| Line {
            quantity,
            ..line.clone()
        };
        if taken > line.quantity.get() {
            return None;
        }
        // A line of zero pieces is left out.
        left.extend(Quantity::new(line.quantity.get() - taken).ok().map(part));
        held.extend(Quantity::new(taken).ok().map(part));
    }
    (held.len() == wanted.len()).then_some((left, held))
}

fn merge(line: &mut Line, held: Line) -> Result<(), MoneyError> {
    line.quantity = sum(line.quantity, held.quantity)?;
    if held.seen_in > line.seen_in {
        (line.name, line.price, line.seen_in) = (held.name, held.price, held.seen_in);
    }
    line.added_at = line.added_at.min(held.added_at);
    Ok(())
}

fn sum(a: Quantity, b: Quantity) -> Result<Quantity, MoneyError> {
    a.checked_add(b).map_err(|_| MoneyError::Overflow)
}

#[cfg(test)]
mod tests;
