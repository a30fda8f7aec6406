//! The saga of a purchase, as a pure table: `next` gives the call of a state, `apply` the state after an outcome. The
//! engine (`platform/saga`) makes the calls and persists the states.

mod calls;
mod event;
mod machine;

use ::saga::{Outcome, Step};

use crate::{commits, domain::Failure};

pub use calls::Participants;
pub use machine::{CheckoutMachine, Data};

pub type Next = ::saga::Next<State, Call>;

::saga::states! {
    /// How far a purchase is.
    pub enum State {
        /// Lines and prices are frozen.
        Initiated = "INITIATED", commits::BEGIN;
        /// The stock is reserved.
        InventoryReserved = "INVENTORY_RESERVED", commits::RESERVED;
        /// The cart holds these pieces for this checkout: no other checkout can buy them.
        CartHeld = "CART_HELD", commits::RESERVED;
        /// A charge may have happened: this state is on disk before the call.
        PaymentPending = "PAYMENT_PENDING", commits::RESERVED;
        /// The card is charged: the saga goes forward, or refunds if the stock is gone.
        PaymentCompleted = "PAYMENT_COMPLETED", commits::PAID;
        Completed = "COMPLETED", commits::COMPLETED;
    } compensating with Failure {
        /// Releases the stock.
        Releasing = "RELEASING", commits::RELEASING;
        /// Gives the pieces back to the cart, then releases the stock.
        GivingBack = "GIVING_BACK", commits::GIVING_BACK;
        /// Refunds the money, then gives the pieces back, then releases the stock.
        Refunding = "REFUNDING", commits::REFUNDING;
        Failed = "FAILED", commits::FAILED;
    }
}

/// A call to a participant. Its idempotency key is the checkout's id, so it may be repeated any number of times.
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

/// What the saga does in this state.
pub fn next(state: &State) -> Next {
    match state {
        State::Initiated => Next::Call(Call::Reserve),
        State::InventoryReserved => Next::Call(Call::Hold),
        State::CartHeld => Next::Intent(State::PaymentPending),
        State::PaymentPending => Next::Call(Call::Charge),
        State::PaymentCompleted => Next::Call(Call::Confirm),
        State::Releasing(_) => Next::Call(Call::Release),
        State::GivingBack(_) => Next::Call(Call::GiveBack),
        State::Refunding(_) => Next::Call(Call::Refund),
        State::Completed | State::Failed(_) => Next::End,
    }
}

/// The state after a call. An unknown outcome and a refused compensation keep the state: the call is repeated.
#[allow(clippy::match_same_arms, reason = "an arm for each row of the table")]
pub fn apply(state: State, outcome: Outcome<Failure>) -> State {
    use Outcome::{Done, Exhausted, Refused, Unknown};
    match (state, outcome) {
        (State::Initiated, Done) => State::InventoryReserved,
        (State::Initiated, Refused(failure)) => State::Failed(failure),
        (State::InventoryReserved, Done) => State::CartHeld,
        // Another checkout holds these pieces, or they left the cart.
        (State::InventoryReserved, Refused(failure)) => State::Releasing(failure),
        (State::PaymentPending, Done) => State::PaymentCompleted,
        (State::PaymentPending, Refused(failure)) => State::GivingBack(failure),
        (State::PaymentCompleted, Done) => State::Completed,
        // The reservation expired and its stock is gone.
        (State::PaymentCompleted, Refused(failure)) => State::Refunding(failure),
        (State::Refunding(failure), Done) => State::GivingBack(failure),
        (State::GivingBack(failure), Done) => State::Releasing(failure),
        (State::Releasing(failure), Done) => State::Failed(failure),
        (state @ (State::Refunding(_) | State::GivingBack(_) | State::Releasing(_)), Refused(_)) => state,
        // These states make no call.
        (state @ (State::CartHeld | State::Completed | State::Failed(_)), Done | Refused(_)) => state,
        // No call has a last attempt: the engine repeats it.
        (state, Unknown | Exhausted) => state,
    }
}

/// The steps that a checkout may take. Histories are checked against them.
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

/// More steps that sagas of machine version 1 could take: some of them were begun before carts had holds.
pub const VERSION_1_ONLY_STEPS: [Step; 3] = [
    ("INVENTORY_RESERVED", "PAYMENT_PENDING"),
    ("PAYMENT_PENDING", "RELEASING"),
    ("REFUNDING", "RELEASING"),
];

impl State {
    /// Whether the call of this state may be made before the state is persisted, so that both steps share a commit.
    ///
    /// If the process dies after the call and before the commit, the next driver finds the state before this one and
    /// repeats the call of that state. The participant repeats its first answer, so the saga reaches this state again.
    /// That holds only if this state's call does not change that answer, and may be made any number of times, also by
    /// two drivers at once:
    ///
    /// - `InventoryReserved`: until Release, a repeated Reserve answers `Done`. `Releasing` after a refused Hold is
    ///   persisted before Release is called. A repeated Hold gets the first answer, done or refused.
    /// - `PaymentCompleted`: until Refund, a repeated Charge answers `Done`. `Refunding` is persisted before Refund is
    ///   called. A repeated Confirm gets the first answer: sold stock stays sold, lost stock is never sold to this
    ///   checkout.
    /// - `GivingBack`, and `Releasing` after it: a decline and a refund are final, so no driver goes forward again.
    ///   Pieces and stock are given back once.
    ///
    /// The other states are persisted before their call. `PaymentPending`: money may move, and recovery must know.
    /// `Refunding`, and `Releasing` after a refused Hold: after Refund, a repeated Charge answers "cancelled"; after
    /// Release, a repeated Reserve answers "released". The saga would then report this answer instead of its first
    /// failure. `CartHeld` has no call, and shares the commit of `PaymentPending`.
    pub const fn may_call_before_persisting(&self) -> bool {
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

    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Completed | Self::Failed(_))
    }

    /// The text of the history entry of this state, after the state `before`.
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
            (Self::InventoryReserved, _) => "the stock is reserved".to_owned(),
            (Self::CartHeld, _) => "the pieces of the cart are held".to_owned(),
            (Self::PaymentPending, _) => "about to charge".to_owned(),
            (Self::PaymentCompleted, _) => "charged".to_owned(),
            (Self::Completed, _) => "the stock is sold".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
