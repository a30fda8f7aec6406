//! The states of a reservation.
//!
//! | state | Reserve again | Confirm | Release | expiry |
//! |---|---|---|---|---|
//! | – | takes stock → HELD, or → REFUSED | refused: `NotFound` | → RELEASED (*tombstone*) | |
//! | HELD | first answer | → CONFIRMED, sold | → RELEASED, stock returned | → EXPIRED, stock returned |
//! | EXPIRED | first answer | stock available → CONFIRMED, sold; else → LOST, refused: `Expired` | → RELEASED | |
//! | LOST | first answer | refused: `Expired` | → RELEASED | |
//! | CONFIRMED | first answer | ok | refused: `Confirmed` | |
//! | RELEASED | refused: `Released` | refused: `Released` | ok | |
//! | REFUSED | first answer | refused: `NotFound` | ok | |
//!
//! A repeated Reserve with different lines is refused as `Mismatch`, except after a release. A Release without a
//! reservation is stored as a row (*tombstone*), so that a Reserve that arrives later is refused.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Lines, Movement, ProductId};

/// The state of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Held,
    /// The reservation expired and its stock was returned.
    Expired,
    /// The stock is sold. Final.
    Confirmed,
    /// Released, perhaps before the Reserve. Final.
    Released,
    /// Stock was short. Final.
    Refused,
    /// The reservation expired, and stock was short at the Confirm.
    Lost,
}

impl State {
    pub const ALL: [Self; 6] = [
        Self::Held,
        Self::Expired,
        Self::Confirmed,
        Self::Released,
        Self::Refused,
        Self::Lost,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Held => "HELD",
            Self::Expired => "EXPIRED",
            Self::Confirmed => "CONFIRMED",
            Self::Released => "RELEASED",
            Self::Refused => "REFUSED",
            Self::Lost => "LOST",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A product with less stock than requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortage {
    pub product_id: ProductId,
    pub requested: i64,
    pub available: i64,
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    OutOfStock(Vec<Shortage>),
    /// The same checkout reserved different lines before.
    Mismatch,
    NotFound,
    Released,
    /// The reservation expired, and its stock is gone.
    Expired,
    Confirmed,
}

/// An existing reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    pub state: State,
    pub lines: Lines,
    /// The answer to the first Reserve; `None` if there was only a Release.
    pub first_answer: Option<Result<Timestamp, Refusal>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReserveDecision {
    /// Takes the stock of all lines or of none.
    TakeStock,
    /// Answers without a change.
    Replay(Result<Timestamp, Refusal>),
}

/// What Reserve does, given the checkout's reservation.
pub fn decide_reserve(reservation: Option<Reservation>, lines: &Lines) -> ReserveDecision {
    let Some(reservation) = reservation else {
        return ReserveDecision::TakeStock;
    };
    let same_lines = reservation.lines == *lines;
    ReserveDecision::Replay(match (reservation.state, reservation.first_answer) {
        (State::Released, _) | (_, None) => Err(Refusal::Released),
        (State::Held | State::Expired | State::Confirmed | State::Refused | State::Lost, Some(answer)) => {
            if same_lines { answer } else { Err(Refusal::Mismatch) }
        }
    })
}

/// A command that settles a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettleCommand {
    Confirm,
    Release,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettleDecision {
    /// The command succeeds without a change.
    NothingToDo,
    Refuse(Refusal),
    /// Changes the state and moves the stock.
    Transition(State, Option<Movement>),
    /// Takes the stock again: all lines → CONFIRMED, else → LOST.
    Reacquire,
}

/// What a command does, given the reservation's state (`None` without a reservation).
pub const fn decide_settle(command: SettleCommand, state: Option<State>) -> SettleDecision {
    match command {
        SettleCommand::Confirm => match state {
            None | Some(State::Refused) => SettleDecision::Refuse(Refusal::NotFound),
            // Also after its expiry time: until the stock is returned, no other checkout can have it.
            Some(State::Held) => SettleDecision::Transition(State::Confirmed, Some(Movement::Sold)),
            Some(State::Expired) => SettleDecision::Reacquire,
            Some(State::Lost) => SettleDecision::Refuse(Refusal::Expired),
            Some(State::Confirmed) => SettleDecision::NothingToDo,
            Some(State::Released) => SettleDecision::Refuse(Refusal::Released),
        },
        SettleCommand::Release => match state {
            None | Some(State::Expired | State::Lost) => SettleDecision::Transition(State::Released, None),
            Some(State::Held) => SettleDecision::Transition(State::Released, Some(Movement::Released)),
            Some(State::Released | State::Refused) => SettleDecision::NothingToDo,
            Some(State::Confirmed) => SettleDecision::Refuse(Refusal::Confirmed),
        },
    }
}

#[cfg(test)]
mod tests;
