//! The books of carts, kept as the real service keeps them (`cart/src/domain/holds.rs`): a piece is free or held by one
//! checkout, and a hold that was refused is refused for good.

use std::collections::BTreeMap;

use checkout::domain::{CartLine, CartRef, CartView, CheckoutId, Failure, Line, ProductId, Purchase, UserId};
use proto::Reason;
use uuid::Uuid;

use super::failure;

/// Holds of a cart, at most.
const MAX_HOLDS: usize = 50;

/// Pieces by product.
type Pieces = BTreeMap<ProductId, i64>;

#[derive(Debug)]
struct Cart {
    id: Uuid,
    version: i64,
    /// The version at which pieces were last held, or refused to be.
    last_hold: i64,
    lines: Vec<CartLine>,
    holds: BTreeMap<CheckoutId, Vec<CartLine>>,
    /// All that is in it, free or held.
    content: Pieces,
}

#[derive(Debug, Default)]
pub(crate) struct Carts {
    by_user: BTreeMap<String, Cart>,
    /// What is in the cart of a customer who was not here yet.
    lines: Vec<CartLine>,
    /// Whether the free pieces of every cart are gone before some are held.
    pub(crate) always_change: bool,
}

impl Cart {
    fn fill(&mut self, lines: Vec<CartLine>) {
        self.lines = lines;
        self.content = self.pieces();
        self.version += 1;
    }

    /// All pieces, free or held.
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
        let (mut left, mut held) = (Vec::new(), Vec::new());
        for line in std::mem::take(&mut self.lines) {
            let taken = wanted.get(&line.product).copied().unwrap_or(0);
            let part = |count| {
                quantity(count).map(|quantity| CartLine {
                    quantity,
                    ..line.clone()
                })
            };
            left.extend(part(line.quantity.get() - taken));
            held.extend(part(taken));
        }
        self.lines = left;
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

    /// Changes what is free in every cart, now and of customers who come later.
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
        if self.always_change {
            self.clear(user);
        }
        self.of(user).hold(id, purchase)
    }

    pub(crate) fn give_back(&mut self, id: CheckoutId, user: &UserId) {
        self.of(user).give_back(id);
    }

    /// The customer takes out of the cart what is free.
    pub(crate) fn clear(&mut self, user: &UserId) {
        let cart = self.of(user);
        if !cart.lines.is_empty() {
            cart.fill(Vec::new());
        }
    }

    /// Other checkouts than those of a test hold pieces of this cart: they get as many as none.
    pub(crate) fn hold_elsewhere(&mut self, ids: impl IntoIterator<Item = CheckoutId>, user: &UserId) {
        self.of(user).holds.extend(ids.into_iter().map(|id| (id, Vec::new())));
    }

    /// What a checkout holds.
    pub(crate) fn held(&mut self, id: CheckoutId, user: &UserId) -> Option<Pieces> {
        self.of(user).holds.get(&id).map(pieces)
    }

    /// The checkouts that hold something, in any cart. Every piece is in one place.
    pub(crate) fn holders(&self) -> Vec<CheckoutId> {
        for cart in self.by_user.values() {
            assert_eq!(cart.pieces(), cart.content, "free and held are all that is in the cart");
        }
        self.by_user
            .values()
            .flat_map(|cart| cart.holds.keys().copied())
            .collect()
    }
}

fn quantity(count: i64) -> Option<money::Quantity> {
    money::Quantity::new(count).ok()
}

fn pieces<'a>(lines: impl IntoIterator<Item = &'a CartLine>) -> Pieces {
    sums(lines.into_iter().map(|line| (line.product, line.quantity.get())))
}

/// The pieces of a purchase.
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
