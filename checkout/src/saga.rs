//! The saga of a purchase: a pure table. The engine does as it says and tells it what came of it.

mod calls;
mod event;
mod machine;

use ::saga::{Outcome, Step};

use crate::{commits, domain::Failure};

pub use calls::Participants;
pub use machine::{CheckoutMachine, Data};

/// What is to be done.
pub type Next = ::saga::Next<State, Call>;

::saga::states! {
    /// How far a purchase is.
    pub enum State {
        /// The lines are frozen.
        Initiated = "INITIATED", commits::BEGIN;
        /// The stock is held.
        InventoryReserved = "INVENTORY_RESERVED", commits::RESERVED;
        /// The pieces of the cart are held, too: no other checkout can buy them.
        CartHeld = "CART_HELD", commits::RESERVED;
        /// A charge may have happened: the intent was recorded before the call.
        PaymentPending = "PAYMENT_PENDING", commits::RESERVED;
        /// The money was taken: from here there is only forward.
        PaymentCompleted = "PAYMENT_COMPLETED", commits::PAID;
        Completed = "COMPLETED", commits::COMPLETED;
    } undone for Failure {
        /// The stock is being given back.
        Releasing = "RELEASING", commits::RELEASING;
        /// The pieces of the cart are being given back, then the stock.
        GivingBack = "GIVING_BACK", commits::GIVING_BACK;
        /// The money is being given back, then the pieces, then the stock.
        Refunding = "REFUNDING", commits::REFUNDING;
        Failed = "FAILED", commits::FAILED;
    }
}

/// A call to a participant. The checkout's id is its key, so that it may be made any number of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Reserve,
    Hold,
    Charge,
    Confirm,
    Release,
    GiveBack,
    Refund,
}

/// What the saga does next, given what is known.
pub fn next(state: &State) -> Next {
    match state {
        State::Initiated => Next::Call(Call::Reserve),
        State::InventoryReserved => Next::Call(Call::Hold),
        State::CartHeld => Next::Record(State::PaymentPending),
        State::PaymentPending => Next::Call(Call::Charge),
        State::PaymentCompleted => Next::Call(Call::Confirm),
        State::Releasing(_) => Next::Call(Call::Release),
        State::GivingBack(_) => Next::Call(Call::GiveBack),
        State::Refunding(_) => Next::Call(Call::Refund),
        State::Completed | State::Failed(_) => Next::End,
    }
}

/// The state after a call. Unknown changes nothing, and neither does a compensation that is refused: both are tried again.
#[allow(clippy::match_same_arms, reason = "an arm for each row of the table")]
pub fn apply(state: State, outcome: Outcome<Failure>) -> State {
    use Outcome::{Done, Exhausted, Refused, Unknown};
    match (state, outcome) {
        (State::Initiated, Done) => State::InventoryReserved,
        (State::Initiated, Refused(failure)) => State::Failed(failure),
        (State::InventoryReserved, Done) => State::CartHeld,
        // Another checkout holds the pieces, or they are gone.
        (State::InventoryReserved, Refused(failure)) => State::Releasing(failure),
        (State::PaymentPending, Done) => State::PaymentCompleted,
        (State::PaymentPending, Refused(failure)) => State::GivingBack(failure),
        (State::PaymentCompleted, Done) => State::Completed,
        // The hold ran out and the stock is gone.
        (State::PaymentCompleted, Refused(failure)) => State::Refunding(failure),
        (State::Refunding(failure), Done) => State::GivingBack(failure),
        (State::GivingBack(failure), Done) => State::Releasing(failure),
        (State::Releasing(failure), Done) => State::Failed(failure),
        (state @ (State::Refunding(_) | State::GivingBack(_) | State::Releasing(_)), Refused(_)) => state,
        // Nothing was called from here.
        (state @ (State::CartHeld | State::Completed | State::Failed(_)), Done | Refused(_)) => state,
        // No call gives up.
        (state, Unknown | Exhausted) => state,
    }
}

/// The steps that a checkout may take.
pub const STEPS: [Step; 12] = [
    ("INITIATED", "INVENTORY_RESERVED"),
    ("INITIATED", "FAILED"),
    ("INVENTORY_RESERVED", "CART_HELD"),
    ("INVENTORY_RESERVED", "RELEASING"),
    ("CART_HELD", "PAYMENT_PENDING"),
    ("PAYMENT_PENDING", "PAYMENT_COMPLETED"),
    ("PAYMENT_PENDING", "GIVING_BACK"),
    ("PAYMENT_COMPLETED", "COMPLETED"),
    ("PAYMENT_COMPLETED", "REFUNDING"),
    ("REFUNDING", "GIVING_BACK"),
    ("GIVING_BACK", "RELEASING"),
    ("RELEASING", "FAILED"),
];

/// Those that it could take, besides, before carts had holds: in version 1.
pub const STEPS_WITHOUT_A_HOLD: [Step; 3] = [
    ("INVENTORY_RESERVED", "PAYMENT_PENDING"),
    ("PAYMENT_PENDING", "RELEASING"),
    ("REFUNDING", "RELEASING"),
];

impl State {
    /// Whether the call that follows may be made before this state is on disk, so that what comes of it shares the commit.
    ///
    /// Whoever takes the saga up without this state finds the one before it and makes the call of that one again. Participants
    /// give their first answer again, so the saga comes back to this state: what was not written is not lost. That is so as
    /// long as the call that follows cannot change that answer, and may be made any number of times, by two drivers as well:
    ///
    /// - `InventoryReserved`: a reservation is answered as made until it is released, and the state that releases it after a
    ///   refused hold is on disk before that. A hold that was made is the answer again, and so is one that was refused.
    /// - `PaymentCompleted`: a charge stays charged until a refund, and `Refunding` is on disk before that. Stock that was
    ///   sold stays sold, and stock that was lost is never sold to this checkout, however often it is confirmed.
    /// - `GivingBack`, and `Releasing` after it: a decline is for good, and so is a refund. Nobody goes forward from there,
    ///   and what is held is given back once.
    ///
    /// The others are written first. `PaymentPending`, because money may move without anybody to tell of it. `Refunding`, and
    /// `Releasing` after a refused hold, because afterwards a charge is answered as cancelled and a reservation as released,
    /// and the true reason would be gone.
    pub const fn shares_its_commit(&self) -> bool {
        match self {
            Self::InventoryReserved | Self::PaymentCompleted | Self::GivingBack(_) => true,
            Self::Releasing(failure) => !failure.is_refused_hold(),
            Self::Initiated
            | Self::CartHeld
            | Self::PaymentPending
            | Self::Refunding(_)
            | Self::Completed
            | Self::Failed(_) => false,
        }
    }

    pub const fn is_terminal(&self) -> bool {
        matches!(self, Self::Completed | Self::Failed(_))
    }

    /// What the history says of a step into this state, or of the beginning.
    fn detail(&self, before: Option<&Self>) -> String {
        match (self, before) {
            (Self::Failed(failure), Some(Self::Releasing(_))) => {
                format!(
                    "{}: {}; the stock is released",
                    failure.reason.as_str(),
                    failure.message
                )
            }
            (
                Self::Failed(failure) | Self::Releasing(failure) | Self::GivingBack(failure) | Self::Refunding(failure),
                _,
            ) => format!("{}: {}", failure.reason.as_str(), failure.message),
            (Self::Initiated, _) => "cart and prices are frozen".to_owned(),
            (Self::InventoryReserved, _) => "the stock is held".to_owned(),
            (Self::CartHeld, _) => "the pieces of the cart are held".to_owned(),
            (Self::PaymentPending, _) => "about to charge".to_owned(),
            (Self::PaymentCompleted, _) => "charged".to_owned(),
            (Self::Completed, _) => "the stock is sold".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
