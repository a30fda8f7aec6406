//! The cart and its rules, without I/O.

mod applied;
mod calls;
mod holds;

use jiff::{SignedDuration, Timestamp};
use money::{Currency, Money, MoneyError, Quantity};
use uuid::Uuid;

pub use applied::AppliedEvents;
pub use calls::{AppliedCall, AppliedCalls, CallId, Change, ChangeOptions, ChangeRequest, UsedKey};
pub use holds::{Hold, HoldOutcome, HoldRequest, MAX_HOLDS};
pub use proto::ids::{CheckoutId, IdempotencyKey, ProductId, UserId};

/// Lines that a customer may fill. Lines that come back from a hold may exceed it.
pub const MAX_LINES: usize = 50;
/// Pieces that a customer may put into a line. Pieces that come back from a hold may exceed it.
pub const MAX_PIECES: i64 = 99;
/// A cart without holds expires this long after its last change.
pub const CART_TTL: SignedDuration = SignedDuration::from_hours(90 * 24);
/// An event from this long before a cart's creation belongs to an earlier cart, even if clocks differ.
const MAX_EVENT_LEAD: SignedDuration = SignedDuration::from_hours(24);

/// Assigned with the first change of a cart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CartId(pub Uuid);

/// A published event. Ids are UUIDv7, so their order is roughly that of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub Uuid);

/// The number of stored changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub i64);

impl Version {
    pub const ZERO: Self = Self(0);

    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A product with its current name and price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub product: ProductId,
    pub name: String,
    pub price: Money,
}

/// Pieces of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProductQuantity {
    pub product: ProductId,
    pub quantity: Quantity,
}

/// A line. Name and price are those of the last addition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub product: ProductId,
    pub name: String,
    pub price: Money,
    /// The version of the cart that set name and price; 0 in documents without this field.
    pub seen_in: Version,
    pub quantity: Quantity,
    pub added_at: Timestamp,
}

impl Line {
    pub fn subtotal(&self) -> Result<Money, MoneyError> {
        self.price.times(self.quantity)
    }
}

/// Why a rule refuses a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CartRefusal {
    Full {
        max: usize,
    },
    QuantityOutOfRange {
        max: i64,
    },
    ItemNotFound,
    VersionMismatch {
        current: Version,
    },
    /// The call id or the idempotency key was used for another request.
    KeyReused,
    Total(MoneyError),
}

/// What an addition did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    NewLine,
    ExistingLine,
}

/// One customer's cart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cart {
    pub user: UserId,
    /// `None` before the first change, as is `updated_at`.
    pub id: Option<CartId>,
    pub version: Version,
    /// Free pieces, in the order of their first addition.
    pub lines: Vec<Line>,
    /// Pieces that checkouts hold, the oldest hold first.
    pub holds: Vec<Hold>,
    /// The version that last held pieces for a checkout or refused to; 0 before.
    pub last_hold: Version,
    pub updated_at: Option<Timestamp>,
    /// Events of purchases without a hold.
    pub applied: AppliedEvents,
    pub calls: AppliedCalls,
}

/// Checks the pieces of a line.
pub fn line_quantity(pieces: i64) -> Result<Quantity, CartRefusal> {
    Quantity::new(pieces)
        .ok()
        .filter(|quantity| quantity.get() <= MAX_PIECES)
        .ok_or(CartRefusal::QuantityOutOfRange { max: MAX_PIECES })
}

impl Cart {
    /// The cart of a customer who never changed it. The store has no document of it.
    pub fn new(user: UserId) -> Self {
        Self {
            user,
            id: None,
            version: Version::ZERO,
            lines: Vec::new(),
            holds: Vec::new(),
            last_hold: Version::ZERO,
            updated_at: None,
            applied: AppliedEvents::default(),
            calls: AppliedCalls::default(),
        }
    }

    pub fn total(&self) -> Result<Money, MoneyError> {
        total_of(&self.lines)
    }

    pub fn check_version(&self, expected: Option<Version>) -> Result<(), CartRefusal> {
        match expected {
            Some(version) if version != self.version => Err(CartRefusal::VersionMismatch { current: self.version }),
            Some(_) | None => Ok(()),
        }
    }

    /// Adds pieces to the line of this product, or to a new line. A refusal changes nothing.
    pub fn add(&mut self, offer: Offer, quantity: Quantity, at: Timestamp) -> Result<Added, CartRefusal> {
        let quantity = line_quantity(quantity.get())?;
        let (mut lines, seen_in) = (self.lines.clone(), self.version.next());
        let added = if let Some(line) = lines.iter_mut().find(|line| line.product == offer.product) {
            line.quantity = line_quantity(line.quantity.get() + quantity.get())?;
            (line.name, line.price, line.seen_in) = (offer.name, offer.price, seen_in);
            Added::ExistingLine
        } else {
            if lines.len() >= MAX_LINES {
                return Err(CartRefusal::Full { max: MAX_LINES });
            }
            let Offer { product, name, price } = offer;
            lines.push(Line {
                product,
                name,
                price,
                seen_in,
                quantity,
                added_at: at,
            });
            Added::NewLine
        };
        self.set_lines(lines)?;
        Ok(added)
    }

    pub fn set_quantity(&mut self, product: ProductId, quantity: Quantity) -> Result<(), CartRefusal> {
        let quantity = line_quantity(quantity.get())?;
        let mut lines = self.lines.clone();
        let line = lines
            .iter_mut()
            .find(|line| line.product == product)
            .ok_or(CartRefusal::ItemNotFound)?;
        line.quantity = quantity;
        self.set_lines(lines)
    }

    pub fn remove(&mut self, product: ProductId) {
        self.lines.retain(|line| line.product != product);
    }

    pub fn clear(&mut self) {
        self.lines.clear();
    }

    /// Takes the items of a purchase off the lines, once for each event; pieces added since stay. For checkouts of
    /// versions before holds.
    pub fn apply_purchase(&mut self, event: EventId, items: &[ProductQuantity]) {
        if self.id.is_none() || !self.applied.record(event) {
            return;
        }
        self.lines.retain_mut(|line| {
            let of_line = items.iter().filter(|item| item.product == line.product);
            let pieces: i64 = of_line.map(|item| item.quantity.get()).sum();
            match Quantity::new(line.quantity.get() - pieces) {
                Ok(left) => {
                    line.quantity = left;
                    true
                }
                Err(_) => false,
            }
        });
    }

    /// Whether the store may delete this cart within `time`. A cart with holds does not expire.
    pub fn may_expire_within(&self, time: SignedDuration, now: Timestamp) -> bool {
        let is_old = |at| now.duration_since(at).saturating_add(time) >= CART_TTL;
        self.holds.is_empty() && self.updated_at.is_some_and(is_old)
    }

    /// Raises the version. Called before every save. `id` becomes the id of a new cart.
    ///
    /// A customer's earlier cart may have expired together with the ids of its applied events. All of those events are
    /// older than this cart and count as applied, so that the topic can be delivered again.
    pub fn bump_version(&mut self, id: CartId, at: Timestamp) {
        if self.id.is_none() {
            self.id = Some(id);
            self.applied = AppliedEvents::before(at.saturating_sub(MAX_EVENT_LEAD).unwrap_or(Timestamp::MIN));
        }
        self.version = self.version.next();
        self.updated_at = Some(at);
    }

    /// Sets the lines if their total can be computed, with all holds given back as well.
    fn set_lines(&mut self, lines: Vec<Line>) -> Result<(), CartRefusal> {
        holds::max_total(&lines, &self.holds).map_err(CartRefusal::Total)?;
        self.lines = lines;
        Ok(())
    }
}

/// The total in the currency of the first line; zero dollars without lines.
fn total_of(lines: &[Line]) -> Result<Money, MoneyError> {
    let currency = lines.first().map_or(Currency::USD, |line| line.price.currency());
    lines
        .iter()
        .try_fold(Money::zero(currency), |sum, line| sum.checked_add(line.subtotal()?))
}

#[cfg(test)]
mod tests;
