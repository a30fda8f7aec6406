//! The cart: a document with a version, and the rules by which it changes. Nothing in here does I/O.

mod applied;
mod calls;
mod holds;

use jiff::{SignedDuration, Timestamp};
use money::{Currency, Money, MoneyError, Quantity};
use uuid::Uuid;

pub use applied::AppliedEvents;
pub use calls::{AppliedCall, AppliedCalls, Ask, CallId, Request, UsedKey};
pub use holds::{Held, Hold, MAX_HOLDS, Wanted};
pub use proto::ids::{CheckoutId, IdempotencyKey, ProductId, UserId};

/// Lines that a cart may have for another one to be added.
pub const MAX_LINES: usize = 50;
/// Pieces that a customer may put into a line. Pieces that come back from a hold may make it more.
pub const MAX_PIECES: i64 = 99;
/// A cart that nobody has changed for so long may be gone.
pub const LIFETIME: SignedDuration = SignedDuration::from_hours(90 * 24);
/// A purchase that was published so long before a cart was made was not made from it, whichever machine's clock is wrong.
const OLDEST_PURCHASE: SignedDuration = SignedDuration::from_hours(24);

/// A cart; made when the first line goes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CartId(pub Uuid);

/// An event that was published. Ids are UUIDv7, so that their order is roughly that of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub Uuid);

/// Rises by one with every stored change; 0 before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub i64);

impl Version {
    pub const ZERO: Self = Self(0);

    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A product as the catalogue offers it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub product: ProductId,
    pub name: String,
    pub price: Money,
}

/// What was bought of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bought {
    pub product: ProductId,
    pub quantity: Quantity,
}

/// A line: name and price are those seen when it was last added to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub product: ProductId,
    pub name: String,
    pub price: Money,
    /// The version of the cart in which name and price were seen; 0 where that was not noted.
    pub seen_in: Version,
    pub quantity: Quantity,
    pub added_at: Timestamp,
}

impl Line {
    pub fn subtotal(&self) -> Result<Money, MoneyError> {
        self.price.times(self.quantity)
    }
}

/// Why a rule does not let a change happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
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
    /// The id of the call, or its idempotency key, came with another request before.
    Reused,
    Total(MoneyError),
}

/// Whether a product had a line before it was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    NewLine,
    ToLine,
}

/// All that is known of one customer's cart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cart {
    pub user: UserId,
    /// `None` before the first change, as is `updated_at`.
    pub id: Option<CartId>,
    pub version: Version,
    /// What is free, in the order in which it was first added.
    pub lines: Vec<Line>,
    /// What checkouts hold, the oldest first.
    pub holds: Vec<Hold>,
    /// The version under which pieces were last held, or refused to a checkout; 0 before.
    pub last_hold: Version,
    pub updated_at: Option<Timestamp>,
    /// Events of purchases that held nothing.
    pub applied: AppliedEvents,
    pub calls: AppliedCalls,
}

/// A number of pieces that a line may have.
pub fn line_quantity(pieces: i64) -> Result<Quantity, Refused> {
    Quantity::new(pieces)
        .ok()
        .filter(|quantity| quantity.get() <= MAX_PIECES)
        .ok_or(Refused::QuantityOutOfRange { max: MAX_PIECES })
}

impl Cart {
    /// The cart of somebody who never had one.
    pub fn never_filled(user: UserId) -> Self {
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

    /// Refuses when somebody expects another version than this one.
    pub fn check_version(&self, expected: Option<Version>) -> Result<(), Refused> {
        match expected {
            Some(version) if version != self.version => Err(Refused::VersionMismatch { current: self.version }),
            Some(_) | None => Ok(()),
        }
    }

    /// Adds to the line of this product, or starts one. What is refused changes nothing.
    pub fn add(&mut self, offer: Offer, quantity: Quantity, at: Timestamp) -> Result<Added, Refused> {
        let quantity = line_quantity(quantity.get())?;
        let (mut lines, seen_in) = (self.lines.clone(), self.version.next());
        let added = if let Some(line) = lines.iter_mut().find(|line| line.product == offer.product) {
            line.quantity = line_quantity(line.quantity.get() + quantity.get())?;
            (line.name, line.price, line.seen_in) = (offer.name, offer.price, seen_in);
            Added::ToLine
        } else {
            if lines.len() >= MAX_LINES {
                return Err(Refused::Full { max: MAX_LINES });
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
        self.replace(lines)?;
        Ok(added)
    }

    /// Sets the quantity of a line.
    pub fn set_quantity(&mut self, product: ProductId, quantity: Quantity) -> Result<(), Refused> {
        let quantity = line_quantity(quantity.get())?;
        let mut lines = self.lines.clone();
        let line = lines
            .iter_mut()
            .find(|line| line.product == product)
            .ok_or(Refused::ItemNotFound)?;
        line.quantity = quantity;
        self.replace(lines)
    }

    /// Takes a line out, if it is there.
    pub fn remove(&mut self, product: ProductId) {
        self.lines.retain(|line| line.product != product);
    }

    pub fn clear(&mut self) {
        self.lines.clear();
    }

    /// Takes off what was bought by a checkout that held nothing, once for each event: a line that has nothing left goes, what
    /// was added since stays. Who never had a cart has nothing to take off. Checkouts of before carts had holds are such.
    pub fn apply_purchase(&mut self, event: EventId, bought: &[Bought]) {
        if self.id.is_none() || !self.applied.note(event) {
            return;
        }
        self.lines.retain_mut(|line| {
            let of_line = bought.iter().filter(|bought| bought.product == line.product);
            let pieces: i64 = of_line.map(|bought| bought.quantity.get()).sum();
            match Quantity::new(line.quantity.get() - pieces) {
                Ok(left) => {
                    line.quantity = left;
                    true
                }
                Err(_) => false,
            }
        });
    }

    /// Whether it may be gone before a copy of it that lives for so long is. A cart with holds stays.
    pub fn may_go_within(&self, time: SignedDuration, now: Timestamp) -> bool {
        let is_old = |at| now.duration_since(at).saturating_add(time) >= LIFETIME;
        self.holds.is_empty() && self.updated_at.is_some_and(is_old)
    }

    /// Makes it the next version: done to every cart that is to be stored. `id` is for one that has none yet.
    ///
    /// A new cart may be the second one of a customer, whose first is gone and with it the ids of the events that it has
    /// applied. They are all older than this one, and count as applied, so that the topic can still be delivered again.
    pub fn stamp(&mut self, id: CartId, at: Timestamp) {
        if self.id.is_none() {
            self.id = Some(id);
            self.applied = AppliedEvents::since(at.saturating_sub(OLDEST_PURCHASE).unwrap_or(Timestamp::MIN));
        }
        self.version = self.version.next();
        self.updated_at = Some(at);
    }

    /// Puts these lines in, if they have a total, also with all that comes back from holds.
    fn replace(&mut self, lines: Vec<Line>) -> Result<(), Refused> {
        holds::highest_total(&lines, &self.holds).map_err(Refused::Total)?;
        self.lines = lines;
        Ok(())
    }
}

/// The total, in the currency of the first line; zero dollars for no lines.
fn total_of(lines: &[Line]) -> Result<Money, MoneyError> {
    let currency = lines.first().map_or(Currency::USD, |line| line.price.currency());
    lines
        .iter()
        .try_fold(Money::zero(currency), |sum, line| sum.checked_add(line.subtotal()?))
}

#[cfg(test)]
mod tests;
