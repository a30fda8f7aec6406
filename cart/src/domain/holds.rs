//! Pieces that checkouts hold. A piece is free or held by one checkout, so that it is bought once.

use std::collections::BTreeMap;

use money::{Money, MoneyError, Quantity};

use super::{Bought, Cart, CartId, CheckoutId, Line, ProductId, Version, total_of};

/// Holds of a cart, at most.
pub const MAX_HOLDS: usize = 50;

/// The pieces that one checkout holds, with the names and prices of the lines that they were taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub checkout: CheckoutId,
    pub lines: Vec<Line>,
}

/// What a checkout asks to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub checkout: CheckoutId,
    /// The cart that the checkout was made from. `None` for a checkout that was begun before carts had holds.
    pub cart: Option<CartId>,
    /// The version of the cart that the checkout was made from.
    pub frozen_at: Version,
    pub pieces: Vec<Bought>,
}

/// What became of a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    Done,
    /// For good: the same request is refused whenever it comes again.
    Refused,
}

impl Cart {
    /// Moves pieces from the lines into a hold, all of them or none. A hold of this checkout that is there is the answer
    /// again.
    ///
    /// Holding and refusing raise [`Cart::last_hold`] to the version that they are stored under. A request that was made
    /// from an earlier version than that is refused, so one that comes late or again takes nothing that was added since.
    pub fn hold(&mut self, wanted: &Wanted) -> Held {
        if let Some(hold) = self.hold_of(wanted.checkout) {
            let same = pieces(&hold.lines) == sums(&wanted.pieces);
            return if same { Held::Done } else { Held::Refused };
        }
        let is_this_cart = self.id.is_some() && wanted.cart.is_none_or(|cart| self.id == Some(cart));
        if !is_this_cart || self.last_hold > wanted.frozen_at {
            return Held::Refused;
        }
        self.last_hold = self.version.next();
        if self.holds.len() >= MAX_HOLDS {
            return Held::Refused;
        }
        let Some((left, held)) = split(&self.lines, &sums(&wanted.pieces)) else {
            return Held::Refused;
        };
        self.lines = left;
        self.holds.push(Hold {
            checkout: wanted.checkout,
            lines: held,
        });
        Held::Done
    }

    /// Returns what a checkout holds to the lines; nothing when it holds nothing. Lines may have more than 99 pieces
    /// afterwards, and the cart more than 50 lines. Of two names and prices the ones that were seen later stay.
    ///
    /// An error means that the stored cart breaks a rule: nothing is added to one that could not take all its holds back.
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

    /// Drops what a completed checkout holds. False when it holds nothing.
    pub fn drop_hold(&mut self, checkout: CheckoutId) -> bool {
        self.take_hold(checkout).is_some()
    }

    fn hold_of(&self, checkout: CheckoutId) -> Option<&Hold> {
        self.holds.iter().find(|hold| hold.checkout == checkout)
    }

    fn take_hold(&mut self, checkout: CheckoutId) -> Option<Hold> {
        let place = self.holds.iter().position(|hold| hold.checkout == checkout)?;
        Some(self.holds.remove(place))
    }
}

/// The highest total that these lines can come to as holds are given back in any order: all pieces of a product at the
/// highest of its prices. A cart in which this has a sum can take every hold back, in pieces and in price.
pub(super) fn highest_total(lines: &[Line], holds: &[Hold]) -> Result<Money, MoneyError> {
    let mut highest: BTreeMap<ProductId, Line> = BTreeMap::new();
    for line in lines.iter().chain(holds.iter().flat_map(|hold| &hold.lines)) {
        let Some(most) = highest.get_mut(&line.product) else {
            highest.insert(line.product, line.clone());
            continue;
        };
        most.price.checked_add(line.price)?;
        if line.price.minor_units() > most.price.minor_units() {
            most.price = line.price;
        }
        most.quantity = sum(most.quantity, line.quantity)?;
    }
    total_of(&highest.into_values().collect::<Vec<_>>())
}

/// The pieces of each product.
fn sums(bought: &[Bought]) -> BTreeMap<ProductId, i64> {
    let mut sums = BTreeMap::new();
    for bought in bought {
        let sum: &mut i64 = sums.entry(bought.product).or_default();
        *sum += bought.quantity.get();
    }
    sums
}

fn pieces(lines: &[Line]) -> BTreeMap<ProductId, i64> {
    lines.iter().map(|line| (line.product, line.quantity.get())).collect()
}

/// The lines without these pieces, and the pieces as lines. `None` when the lines do not have them all.
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
        // Zero pieces are none.
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

/// More pieces than a quantity can have are too many to have a price, too.
fn sum(a: Quantity, b: Quantity) -> Result<Quantity, MoneyError> {
    a.checked_add(b).map_err(|_| MoneyError::Overflow)
}

#[cfg(test)]
mod tests;
