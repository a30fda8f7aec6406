//! The states of a reservation.
//!
//! | state | Reserve again | Confirm | Release | expiry |
//! |---|---|---|---|---|
//! | – | takes stock → HELD, or → REFUSED | not found | → RELEASED (a tombstone for the late Reserve) | |
//! | HELD | first answer | → CONFIRMED, sold | → RELEASED, stock returned | → EXPIRED, stock returned |
//! | EXPIRED | first answer | stock available → CONFIRMED, sold; else → LOST, expired | → RELEASED | |
//! | LOST | first answer | expired | → RELEASED | |
//! | CONFIRMED | first answer | ok | confirmed | |
//! | RELEASED | released | released | ok | |
//! | REFUSED | first answer | not found | ok | |
//!
//! A repeated Reserve with different lines is a mismatch, except after a release.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Lines, Movement, ProductId};

/// The state of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Held,
    /// The hold expired and its stock was returned.
    Expired,
    /// The stock is sold. Final.
    Confirmed,
    /// Released, perhaps before the Reserve. Final.
    Released,
    /// Stock was short. Final.
    Refused,
    /// The hold expired, and stock was short at the Confirm.
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
    /// The hold expired, and its stock is gone.
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

/// A command that ends a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndCommand {
    Confirm,
    Release,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndDecision {
    /// The command was executed before.
    Done,
    Refuse(Refusal),
    /// Changes the state and moves the stock.
    Transition(State, Option<Movement>),
    /// Takes the stock again: all lines → CONFIRMED, else → LOST.
    Reacquire,
}

/// What a command does, given the reservation's state (`None` without a reservation).
pub const fn decide_end(command: EndCommand, state: Option<State>) -> EndDecision {
    match command {
        EndCommand::Confirm => match state {
            None | Some(State::Refused) => EndDecision::Refuse(Refusal::NotFound),
            // Also after its expiry time: until the stock is returned, no other checkout can have it.
            Some(State::Held) => EndDecision::Transition(State::Confirmed, Some(Movement::Sold)),
            Some(State::Expired) => EndDecision::Reacquire,
            Some(State::Lost) => EndDecision::Refuse(Refusal::Expired),
            Some(State::Confirmed) => EndDecision::Done,
            Some(State::Released) => EndDecision::Refuse(Refusal::Released),
        },
        EndCommand::Release => match state {
            None | Some(State::Expired | State::Lost) => EndDecision::Transition(State::Released, None),
            Some(State::Held) => EndDecision::Transition(State::Released, Some(Movement::Released)),
            Some(State::Released | State::Refused) => EndDecision::Done,
            Some(State::Confirmed) => EndDecision::Refuse(Refusal::Confirmed),
        },
    }
}

#[cfg(test)]
mod tests;
