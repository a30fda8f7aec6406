//! Carts with the rules of the cart service (`cart/src/domain/holds.rs`): a piece is free or held by one checkout, and
//! a refused hold stays refused.

use std::collections::BTreeMap;

use checkout::domain::{CartLine, CartRef, CartView, CheckoutId, Failure, Line, ProductId, Purchase, UserId};
use proto::Reason;
use uuid::Uuid;

use super::failure;

const MAX_HOLDS: usize = 50;

/// The number of pieces of each product.
type Pieces = BTreeMap<ProductId, i64>;

#[derive(Debug)]
struct Cart {
    id: Uuid,
    version: i64,
    /// The version after the last hold, done or refused.
    last_hold: i64,
    lines: Vec<CartLine>,
    holds: BTreeMap<CheckoutId, Vec<CartLine>>,
    /// All pieces, free and held, for the check in [`Carts::holders`].
    content: Pieces,
}

#[derive(Debug, Default)]
pub(crate) struct Carts {
    by_user: BTreeMap<String, Cart>,
    /// The lines of a new customer's cart.
    lines: Vec<CartLine>,
    /// Before each Hold, the customer clears the cart.
    pub(crate) cleared_before_hold: bool,
}

impl Cart {
    fn fill(&mut self, lines: Vec<CartLine>) {
        self.lines = lines;
        self.content = self.pieces();
        self.version += 1;
    }

    fn pieces(&self) -> Pieces {
        pieces(self.lines.iter().chain(self.holds.values().flatten()))
    }

    fn hold(&mut self, id: CheckoutId, purchase: &Purchase) -> Result<(), Failure> {
        let wanted = wanted(&purchase.lines);
        let refused = || Err(failure(Reason::CartChanged));
        if let Some(held) = self.holds.get(&id) {
            return if pieces(held) == wanted { Ok(()) } else { refused() };
        }
        let is_this_cart = purchase.cart.id.is_none_or(|cart| cart == self.id);
        if !is_this_cart || self.last_hold > purchase.cart.version {
            return refused();
        }
        self.version += 1;
        self.last_hold = self.version;
        let free = pieces(&self.lines);
        let is_free = |(product, count): (&ProductId, &i64)| free.get(product).is_some_and(|free| free >= count);
        if self.holds.len() >= MAX_HOLDS || !wanted.iter().all(is_free) {
            return refused();
        }
        let (mut remaining, mut held) = (Vec::new(), Vec::new());
        for line in std::mem::take(&mut self.lines) {
            let taken = wanted.get(&line.product).copied().unwrap_or(0);
            let part = |count| {
                quantity(count).map(|quantity| CartLine {
                    quantity,
                    ..line.clone()
                })
            };
            remaining.extend(part(line.quantity.get() - taken));
            held.extend(part(taken));
        }
        self.lines = remaining;
        self.holds.insert(id, held);
        Ok(())
    }

    fn give_back(&mut self, id: CheckoutId) {
        let Some(held) = self.holds.remove(&id) else { return };
        self.version += 1;
        for held in held {
            match self.lines.iter_mut().find(|line| line.product == held.product) {
                Some(line) => line.quantity = quantity(line.quantity.get() + held.quantity.get()).unwrap(),
                None => self.lines.push(held),
            }
        }
    }
}

impl Carts {
    fn of(&mut self, user: &UserId) -> &mut Cart {
        let lines = &self.lines;
        self.by_user.entry(user.as_str().to_owned()).or_insert_with(|| Cart {
            id: Uuid::new_v5(&Uuid::NAMESPACE_OID, user.as_str().as_bytes()),
            version: 7,
            last_hold: 0,
            lines: lines.clone(),
            holds: BTreeMap::new(),
            content: pieces(lines),
        })
    }

    /// Replaces the free lines of every cart, also of new customers.
    pub(crate) fn fill(&mut self, lines: Vec<CartLine>) {
        for cart in self.by_user.values_mut() {
            cart.fill(lines.clone());
        }
        self.lines = lines;
    }

    pub(crate) fn view(&mut self, user: &UserId) -> CartView {
        let cart = self.of(user);
        CartView {
            cart: CartRef {
                id: Some(cart.id),
                version: cart.version,
            },
            lines: cart.lines.clone(),
            holders: cart.holds.keys().copied().collect(),
        }
    }

    pub(crate) fn hold(&mut self, id: CheckoutId, user: &UserId, purchase: &Purchase) -> Result<(), Failure> {
        if self.cleared_before_hold {
            self.clear(user);
        }
        self.of(user).hold(id, purchase)
    }

    pub(crate) fn give_back(&mut self, id: CheckoutId, user: &UserId) {
        self.of(user).give_back(id);
    }

    /// The customer removes all free lines.
    pub(crate) fn clear(&mut self, user: &UserId) {
        let cart = self.of(user);
        if !cart.lines.is_empty() {
            cart.fill(Vec::new());
        }
    }

    /// Adds empty holds of other checkouts.
    pub(crate) fn add_empty_holds(&mut self, ids: impl IntoIterator<Item = CheckoutId>, user: &UserId) {
        self.of(user).holds.extend(ids.into_iter().map(|id| (id, Vec::new())));
    }

    pub(crate) fn held(&mut self, id: CheckoutId, user: &UserId) -> Option<Pieces> {
        self.of(user).holds.get(&id).map(pieces)
    }

    /// The checkouts with a hold in any cart. Asserts that no cart lost or gained a piece.
    pub(crate) fn holders(&self) -> Vec<CheckoutId> {
        let mut holders = Vec::new();
        for cart in self.by_user.values() {
            assert_eq!(
                cart.pieces(),
                cart.content,
                "free and held pieces are the content of the cart"
            );
            holders.extend(cart.holds.keys());
        }
        holders
    }
}

fn quantity(count: i64) -> Option<money::Quantity> {
    money::Quantity::new(count).ok()
}

fn pieces<'a>(lines: impl IntoIterator<Item = &'a CartLine>) -> Pieces {
    sums(lines.into_iter().map(|line| (line.product, line.quantity.get())))
}

pub(crate) fn wanted(lines: &[Line]) -> Pieces {
    sums(lines.iter().map(|line| (line.product, line.quantity.get())))
}

fn sums(counts: impl Iterator<Item = (ProductId, i64)>) -> Pieces {
    let mut sums = Pieces::new();
    for (product, count) in counts {
        *sums.entry(product).or_default() += count;
    }
    sums
}
